/** One file from the hub into the cache: resumed where it was cut, checked as a whole, then given its name. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, rm, stat } from 'node:fs/promises'
import { PareError, printable, SourceError } from '../../tensor/errors.ts'
import { stopIfAborted } from './abort.ts'
import { checkFreeDisk, diskError } from './disk.ts'
import type { HubRepository } from './hub_cache.ts'
import type { FileMetadata, HubClient } from './hub_client.ts'
import { TransientFailure } from './hub_errors.ts'

/** After so many cut connections, progress no longer buys new attempts. */
const maximumConnections = 100

export interface DownloadOptions {
  signal?: AbortSignal | undefined
  /** Bytes on disk so far, bytes in all where known. */
  progress?: (done: number, total: number | undefined) => void
  /** Called when all bytes are there and their hash is computed. */
  verifying?: () => void
  /** What is fetched, for messages. */
  subject: string
}

/**
 * Fetches a file unless its blob is there already.
 *
 * @param address path of the file below the endpoint
 * @throws SourceError `PARE_E_SOURCE_HASH` if the whole does not have the hash that the endpoint declared;
 *   nothing is kept of it then. After any other error the partial file stays and is resumed next time.
 */
export async function downloadBlob(
  client: HubClient,
  repository: HubRepository,
  address: string,
  metadata: FileMetadata,
  options: DownloadOptions,
): Promise<void> {
  const { etag, bytes } = metadata
  if (await repository.hasBlob(etag, bytes)) return
  const partial = await repository.claimPartial(etag)
  try {
    const had = (await stat(partial)).size
    await checkFreeDisk(repository.blobs, Math.max(0, (bytes ?? 0) - had), options.subject)
    let found = await fill(client, address, partial, metadata, options)
    if (found !== etag && had > 0) {
      // What was left by an earlier attempt may be what is wrong.
      await rm(partial)
      found = await fill(client, address, partial, metadata, options)
    }
    if (found !== etag) {
      await rm(partial)
      throw new SourceError(
        `${options.subject}: the hash ${etag} is needed, the download has ${found}; nothing was kept, run again or use another HF_ENDPOINT`,
        { code: 'PARE_E_SOURCE_HASH', facts: { source: options.subject, wanted: etag, found } },
      )
    }
    await repository.finishBlob(partial, etag)
  } catch (error) {
    throw diskError(error, repository.blobs, options.subject)
  } finally {
    await repository.releasePartial(partial, etag)
  }
}

/** Appends until the file is whole, over as many connections as it takes, and returns its hash. */
async function fill(
  client: HubClient,
  address: string,
  partial: string,
  { etag, bytes }: FileMetadata,
  { signal, progress, verifying, subject }: DownloadOptions,
): Promise<string> {
  const file = await open(partial, 'a')
  try {
    let done = (await file.stat()).size
    const restart = async () => {
      await file.truncate(0)
      done = 0
    }
    if (bytes !== undefined && done > bytes) await restart()
    let [failures, connections] = [0, 0]
    while (bytes === undefined || done < bytes) {
      const before = done
      try {
        stopIfAborted(signal)
        const { start, body, close } = await client.content(address, done)
        try {
          if (start !== done) await restart()
          for await (const chunk of body) {
            done += chunk.length
            if (bytes !== undefined && done > bytes) throw tooLong(subject, bytes)
            await file.writeFile(chunk)
            progress?.(done, bytes)
          }
        } finally {
          await close()
        }
        if (bytes === undefined) break
        if (done < bytes) throw new TransientFailure(`the connection ended at byte ${done} of ${bytes}`)
      } catch (error) {
        if (error instanceof PareError) throw error
        failures = done > before && ++connections < maximumConnections ? 0 : failures + 1
        await client.pauseAfter(error, failures)
      }
    }
    await file.sync()
  } finally {
    await file.close()
  }
  verifying?.()
  return etag.length === 64 ? hashBlob('sha256', partial, '', signal) : gitHash(partial, signal)
}

/** Git hashes a header and the content. */
async function gitHash(path: string, signal: AbortSignal | undefined): Promise<string> {
  return hashBlob('sha1', path, `blob ${(await stat(path)).size}\0`, signal)
}

async function hashBlob(
  algorithm: string,
  path: string,
  header: string,
  signal?: AbortSignal,
): Promise<string> {
  const hash = createHash(algorithm).update(header)
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
    stopIfAborted(signal)
    hash.update(chunk)
  }
  return hash.digest('hex')
}

function tooLong(subject: string, bytes: number): SourceError {
  return new SourceError(
    `${printable(subject)}: ${bytes} bytes were declared, the server sends more; run again or use another HF_ENDPOINT`,
    { code: 'PARE_E_HUB_ANSWER', facts: { source: subject, bytes } },
  )
}
