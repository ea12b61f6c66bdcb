/**
 * Models of the Hugging Face hub, in the cache that Python's programs use. Only the files that one model needs are
 * fetched: configuration, tokenizer, licences, and its safetensors or one gguf.
 */
import { readdir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { FormatError, OptionError, PareError, printable, SourceError } from '../../tensor/errors.ts'
import { permissionError } from './cache.ts'
import {
  chooseCandidate,
  findCandidates,
  isLicense,
  type ModelCandidate,
  neededFiles,
  splitPath,
} from './candidates.ts'
import { HubRepository, isCommit } from './hub_cache.ts'
import { HubClient } from './hub_client.ts'
import { downloadBlob } from './hub_download.ts'
import { readHubSettings } from './hub_settings.ts'
import { hasTokenizer, weightFiles } from './hub_weights.ts'
import { unsafeNameReason } from './member_name.ts'
import { hashFile, wrongHash } from './packaged_model.ts'
import type { ResolvedSource, ResolveOptions } from './resolved.ts'
import { formatSource, type HubSpec } from './spec.ts'

/** Files in a repository that are looked at. */
const maximumFiles = 100_000
/** Milliseconds between two reports of progress. */
const progressInterval = 200

export type HubOptions = ResolveOptions & { environment: NodeJS.ProcessEnv }
/** A request with all that was found out about it. */
export interface HubRequest {
  spec: HubSpec
  options: HubOptions
  subject: string
  repository: HubRepository
  client: HubClient
  /** Only the cache may be used. */
  offline: boolean
}

/**
 * A model of the hub, complete on this disk.
 *
 * A commit that is in the cache is used without asking; a branch or tag is looked up each time, unless offline.
 * A repository whose top folder is a model is that model; otherwise it must hold exactly one, or `/FILE.gguf` chooses.
 *
 * @throws SourceError, OptionError (environment), ResourceError (disk), AbortError
 */
export async function resolveHub(spec: HubSpec, options: HubOptions): Promise<ResolvedSource> {
  const request = await beginRequest(spec, options)
  if (request.offline) return fromCache(request)
  // Without the names of all its files, a snapshot of Python's could be another model of the same commit.
  const known = isCommit(spec.revision) && (await request.repository.readListing(spec.revision)) !== undefined
  const pinned = known ? await findComplete(request, spec.revision) : undefined
  return pinned ?? orHint(request, () => fromHub(request))
}

/** `work`, which asks the hub; where that cannot be reached, the error says whether the cache has a copy. */
export async function orHint<T>(request: HubRequest, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof PareError && error.code === 'PARE_E_HUB_UNREACHABLE')
      throw await withOfflineHint(error, request)
    throw permissionError(error, dirname(request.repository.folder))
  }
}

/** What is needed to ask the hub for a model. */
export async function beginRequest(spec: HubSpec, options: HubOptions): Promise<HubRequest> {
  const settings = await readHubSettings(options.environment)
  const subject = formatSource(spec)
  const repository = new HubRepository(settings.cacheFolder, spec.repository)
  const client = new HubClient({
    ...settings,
    retryDelay: options.retryDelay ?? 500,
    signal: options.signal,
    subject,
  })
  return { spec, options, subject, repository, client, offline: options.offline ?? settings.offline }
}

async function fromHub(request: HubRequest): Promise<ResolvedSource> {
  const { spec, repository, options } = request
  options.progress?.({ stage: 'fetch', text: `asking the hub for ${spec.repository}` })
  const { commit, files } = await listRepository(request)
  const candidate = choose(request, files)
  await repository.writeListing(commit, files)
  const needed = neededFiles(candidate, files)
  const weights = new Set(candidate.weights)
  for (const file of needed) if (!weights.has(file)) await fetchFile(request, commit, file)
  for (const file of await weightFiles(candidate, files, request.subject, (index) =>
    repository.snapshot(commit, index),
  ))
    await fetchFile(request, commit, file)
  await repository.writeReference(spec.revision, commit)
  return resolved(request, commit, candidate)
}

/** The commit of the revision and the names of its files. */
export async function listRepository({
  spec,
  client,
  subject,
}: HubRequest): Promise<{ commit: string; files: string[] }> {
  const answer = await client.json(
    `api/models/${spec.repository}/revision/${encodeURIComponent(spec.revision)}`,
  )
  const { sha, siblings } = (answer ?? {}) as { sha?: unknown; siblings?: unknown }
  const names =
    Array.isArray(siblings) && siblings.map((entry: { rfilename?: unknown } | null) => entry?.rfilename)
  const usable = names && names.length <= maximumFiles && names.every((name) => typeof name === 'string')
  if (
    !usable ||
    typeof sha !== 'string' ||
    !isCommit(sha) ||
    (isCommit(spec.revision) && spec.revision !== sha)
  ) {
    throw new SourceError(
      `${subject}: the hub must name a commit and its files, it does not; check HF_ENDPOINT`,
      {
        code: 'PARE_E_HUB_ANSWER',
        facts: { source: subject },
      },
    )
  }
  // A name that would be no plain path here is as if it were not there; if it is needed, the model is incomplete.
  const files = (names as string[]).filter((name) => unsafeNameReason(name) === undefined)
  return { commit: sha, files: [...new Set(files)].sort() }
}

export function choose({ spec, subject }: HubRequest, files: readonly string[]): ModelCandidate {
  const candidates = findCandidates(files)
  const top = candidates.find(({ kind, path }) => kind === 'folder' && path === '')
  const candidate =
    spec.member === undefined && top
      ? top
      : chooseCandidate(candidates, {
          subject,
          member: spec.member,
          describe: (member) => formatSource({ ...spec, member, sha256: undefined }),
        })
  if (spec.sha256 !== undefined && (candidate.kind !== 'gguf' || candidate.weights.length !== 1)) {
    throw new OptionError(
      `${subject}: a hash needs one gguf file, the model has more; pin a commit with @REVISION`,
      {
        code: 'PARE_E_SOURCE_SPEC',
        facts: { source: subject },
      },
    )
  }
  return candidate
}

export async function fetchFile(request: HubRequest, commit: string, file: string): Promise<void> {
  const { spec, options, subject, repository, client } = request
  if (await repository.hasFile(commit, file)) return
  const path = file.split('/').map(encodeURIComponent).join('/')
  const address = `${spec.repository}/resolve/${commit}/${path}`
  const metadata = await client.metadata(address)
  if (spec.sha256 !== undefined && file.endsWith('.gguf') && metadata.etag !== spec.sha256) {
    throw wrongHash(subject, spec.sha256, metadata.etag)
  }
  let last = 0
  await downloadBlob(client, repository, address, metadata, {
    signal: options.signal,
    subject: `${subject}, ${printable(file)}`,
    verifying: () =>
      options.progress?.({
        stage: 'verify',
        text: `checking ${printable(file)}`,
        ...(metadata.bytes && { total: metadata.bytes }),
      }),
    progress: (done, total) => {
      const now = performance.now()
      if (now - last < progressInterval && done !== total) return
      last = now
      options.progress?.({
        stage: 'fetch',
        text: `fetching ${printable(file)}`,
        done,
        ...(total && { total }),
      })
    },
  })
  await repository.linkSnapshot(commit, file, metadata.etag)
}

async function resolved(
  request: HubRequest,
  commit: string,
  candidate: ModelCandidate,
): Promise<ResolvedSource> {
  const { spec, repository, options, subject } = request
  const path = repository.snapshot(commit, candidate.path)
  const sha256 = candidate.kind === 'gguf' && candidate.weights.length === 1 ? await oneFileHash() : undefined
  if (spec.sha256 !== undefined && spec.sha256 !== sha256)
    throw wrongHash(subject, spec.sha256, sha256 ?? 'none')
  const folders = new Set([candidate.kind === 'folder' ? path : dirname(path), repository.snapshot(commit)])
  const licenseFiles: string[] = []
  for (const folder of folders) {
    for (const name of (await readdir(folder)).filter(isLicense).sort()) licenseFiles.push(join(folder, name))
  }
  return {
    spec: subject,
    kind: 'hf',
    path,
    sha256,
    revision: commit,
    licenseFiles,
    name:
      candidate.kind === 'gguf'
        ? splitPath(candidate.path)[1].replace(/\.gguf$/i, '')
        : splitPath(spec.repository)[1],
  }

  async function oneFileHash(): Promise<string> {
    const blob = await repository.blobSha256(commit, candidate.path)
    return blob ?? (await hashFile(path, options.signal))
  }
}

/** The model if every file it needs is on this disk. */
export async function findComplete(request: HubRequest, commit: string): Promise<ResolvedSource | undefined> {
  const { repository } = request
  const present = await repository.snapshotFiles(commit)
  if (present.length === 0) return undefined
  const listing = await repository.readListing(commit)
  // Python stopped before the weights; with a listing, the repository itself would have no model.
  if (listing === undefined && findCandidates(present).length === 0) return undefined
  const candidate = choose(request, listing ?? present)
  if (!(await isComplete())) return undefined
  return resolved(request, commit, candidate)

  async function isComplete(): Promise<boolean> {
    const has = new Set(present)
    // Without a list of what the commit holds, an unfinished download anywhere is reason enough for doubt.
    if (listing === undefined && (await repository.hasUnfinished())) return false
    const names = listing ?? present
    const described = neededFiles(candidate, names).filter((name) => !candidate.weights.includes(name))
    if (!described.every((name) => has.has(name))) return false
    try {
      const weights = await weightFiles(candidate, names, request.subject, (index) =>
        repository.snapshot(commit, index),
      )
      return weights.every((name) => has.has(name)) && (listing !== undefined || hasTokenizer(has, candidate))
    } catch (error) {
      if (error instanceof SourceError || error instanceof FormatError) return false
      throw error
    }
  }
}

export async function fromCache(request: HubRequest): Promise<ResolvedSource> {
  const { spec, repository, subject } = request
  const commit = await repository.readReference(spec.revision)
  const complete = commit === undefined ? undefined : await findComplete(request, commit)
  if (complete) return complete
  const partial =
    commit !== undefined && (await stat(repository.snapshot(commit)).catch(() => undefined)) !== undefined
  throw new SourceError(
    `${subject}: offline needs a complete copy in the cache, there is ${partial ? 'a partial one' : 'none'}; run once online`,
    { code: 'PARE_E_SOURCE_OFFLINE', facts: { source: subject, folder: repository.folder, partial } },
  )
}

/** Says that a complete copy is there; it is not used unasked, since the hub may hold a newer one. */
async function withOfflineHint(error: PareError, request: HubRequest): Promise<PareError> {
  const { spec, repository } = request
  const commit = await repository.readReference(spec.revision)
  const copy = commit && (await findComplete(request, commit).catch(() => undefined))
  if (!copy) return error
  return new SourceError(
    `${error.message}; a complete copy of ${commit} is in the cache, set HF_HUB_OFFLINE=1 to use it`,
    {
      code: error.code,
      facts: { ...error.facts, commit },
      cause: error,
    },
  )
}
