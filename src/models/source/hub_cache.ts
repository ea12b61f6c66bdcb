/**
 * The hub's cache in the layout of Hugging Face's Python programs, so that each uses what the other fetched:
 *
 *   CACHE/models--ORG--NAME/blobs/ETAG               a file under its hash
 *                          /refs/REVISION            the commit that a branch or tag had last
 *                          /snapshots/COMMIT/PATH    a relative link to the blob
 *                          /.pare/COMMIT.json        the names of all files of the commit, ours
 *
 * A download grows as `blobs/ETAG.*.pare.incomplete`: under a name of its process while one works on it, under
 * `ETAG.pare.incomplete` while it waits to be resumed. Python's own `.incomplete` files are left alone, since
 * their lock cannot be taken from here. Every final name appears by a rename.
 */
import {
  copyFile,
  link,
  mkdir,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { basename, dirname, join, relative } from 'node:path'
import { markPattern, ownerOf, processMark } from '../../formats/process_mark.ts'
import { unsafeNameReason } from './member_name.ts'

const suffix = '.pare.incomplete'
const markOfPartial = new RegExp(`\\.(${markPattern})\\.pare\\.incomplete$`)
/** After this many milliseconds without a write, another machine's partial download counts as given up. */
const givenUpAfter = 3600 * 1000

export class HubRepository {
  readonly folder: string

  constructor(cacheFolder: string, repository: string) {
    this.folder = join(cacheFolder, `models--${repository.replace('/', '--')}`)
  }

  get blobs(): string {
    return join(this.folder, 'blobs')
  }

  /** Where a file of a commit stands or will stand. */
  snapshot(commit: string, path = ''): string {
    return join(this.folder, 'snapshots', commit, ...path.split('/'))
  }

  /** The commit of a branch or tag when it was last asked for; a commit is its own. */
  async readReference(revision: string): Promise<string | undefined> {
    if (isCommit(revision)) return revision
    const text = await readFile(join(this.folder, 'refs', ...revision.split('/')), 'utf8').catch(() => '')
    return isCommit(text.trim()) ? text.trim() : undefined
  }

  async writeReference(revision: string, commit: string): Promise<void> {
    if (revision !== commit) await replaceFile(join(this.folder, 'refs', ...revision.split('/')), commit)
  }

  /** The names of all files of a commit, if they were ever asked for. */
  async readListing(commit: string): Promise<string[] | undefined> {
    try {
      const { files } = JSON.parse(await readFile(this.#listing(commit), 'utf8')) as { files: string[] }
      return files.every((name) => typeof name === 'string' && unsafeNameReason(name) === undefined)
        ? files
        : undefined
    } catch {
      return undefined
    }
  }

  async writeListing(commit: string, files: readonly string[]): Promise<void> {
    await replaceFile(this.#listing(commit), `${JSON.stringify({ commit, files }, null, 1)}\n`)
  }

  #listing(commit: string): string {
    return join(this.folder, '.pare', `${commit}.json`)
  }

  /** The files of a snapshot whose blobs exist, with `/`. */
  async snapshotFiles(commit: string): Promise<string[]> {
    const root = this.snapshot(commit)
    const files: string[] = []
    for (const name of await readdir(root, { recursive: true }).catch(() => [])) {
      const found = await stat(join(root, name)).catch(() => undefined)
      if (found?.isFile()) files.push(name.replaceAll('\\', '/'))
    }
    return files
  }

  async hasFile(commit: string, path: string): Promise<boolean> {
    return (await stat(this.snapshot(commit, path)).catch(() => undefined))?.isFile() ?? false
  }

  /** Whether any program stopped in the middle of a download here. */
  async hasUnfinished(): Promise<boolean> {
    return (await readdir(this.blobs).catch(() => [])).some((name) => name.endsWith('.incomplete'))
  }

  /** The SHA-256 in the name of a file's blob; undefined for small files and where links were not possible. */
  async blobSha256(commit: string, path: string): Promise<string | undefined> {
    const name = basename(await realpath(this.snapshot(commit, path)))
    return /^[0-9a-f]{64}$/.test(name) ? name : undefined
  }

  /** Takes over what is left of an earlier download of a blob, or names a fresh file; this process owns it then. */
  async claimPartial(etag: string): Promise<string> {
    await mkdir(this.blobs, { recursive: true })
    const own = join(this.blobs, `${etag}.${processMark()}${suffix}`)
    for (const name of await readdir(this.blobs)) {
      if (!name.startsWith(`${etag}.`) || !name.endsWith(suffix) || !(await isFree(join(this.blobs, name))))
        continue
      // The rename succeeds for one process only.
      const claimed = await rename(join(this.blobs, name), own).then(
        () => true,
        () => false,
      )
      if (claimed) return own
    }
    await writeFile(own, '', { flag: 'wx' })
    return own
  }

  /** Leaves a partial download for the next attempt. */
  async releasePartial(partial: string, etag: string): Promise<void> {
    const found = await stat(partial).catch(() => undefined)
    if (found === undefined) return
    if (found.size === 0) await rm(partial, { force: true })
    else await rename(partial, join(this.blobs, `${etag}${suffix}`))
  }

  /** Whether the blob is there, with the size it should have. */
  async hasBlob(etag: string, bytes: number | undefined): Promise<boolean> {
    const found = await stat(join(this.blobs, etag)).catch(() => undefined)
    return found?.isFile() === true && (bytes === undefined || found.size === bytes)
  }

  /** Gives a checked download its final name. */
  async finishBlob(partial: string, etag: string): Promise<void> {
    await rename(partial, join(this.blobs, etag))
  }

  /** Lets a path of a snapshot point to a blob: a relative link, else a hard link, else a copy. */
  async linkSnapshot(commit: string, path: string, etag: string): Promise<void> {
    const place = this.snapshot(commit, path)
    const blob = join(this.blobs, etag)
    await mkdir(dirname(place), { recursive: true })
    const fresh = `${place}.${processMark()}`
    await symlink(relative(dirname(place), blob), fresh)
      .catch(() => link(blob, fresh))
      .catch(() => copyFile(blob, fresh))
    await rename(fresh, place)
  }
}

export const isCommit = (text: string): boolean => /^[0-9a-f]{40}$/.test(text)

/** Whether no living process works on a partial file. */
async function isFree(path: string): Promise<boolean> {
  const mark = markOfPartial.exec(path)?.[1]
  const owner = mark === undefined ? 'ended' : ownerOf(mark)
  if (owner !== 'elsewhere') return owner === 'ended'
  const found = await stat(path).catch(() => undefined)
  return found !== undefined && Date.now() - found.mtimeMs > givenUpAfter
}

async function replaceFile(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  const fresh = `${path}.${processMark()}`
  await writeFile(fresh, text, { flag: 'wx' })
  await rename(fresh, path)
}
