/**
 * The headers of a model of the hub, without its weights. Configuration and tokenizer come into the cache as for a whole
 * model; of each weight file come the bytes that its reader asks for, by range requests. Those bytes are not checked: the
 * hash of a file covers all of it.
 */
import type { TensorArchive } from '../../formats/archive.ts'
import { type GgufArchive, openGgufSource } from '../../formats/gguf/container.ts'
import { MissingBytes, type PartialSource, partialSource } from '../../formats/partial_source.ts'
import { readHeader } from '../../formats/safetensors/header.ts'
import { INDEX_FILE, openIndex, openSources } from '../../formats/safetensors/safetensors.ts'
import { printable, SourceError } from '../../tensor/errors.ts'
import { type ModelCandidate, neededFiles, splitPath } from './candidates.ts'
import {
  beginRequest,
  choose,
  fetchFile,
  findComplete,
  fromCache,
  type HubOptions,
  type HubRequest,
  listRepository,
  orHint,
} from './hub.ts'
import { weightFiles } from './hub_weights.ts'
import { wrongHash } from './packaged_model.ts'
import type { ResolvedSource } from './resolved.ts'
import type { HubSpec } from './spec.ts'

/** First step into a GGUF file; each further one is as long as all before it, up to the longest. */
const FIRST_RANGE = 1 << 16
const LONGEST_RANGE = 1 << 23
/** A safetensors file begins with the length of its header. */
const LENGTH_BYTES = 8
/** Bytes of all headers of a model; the longest known have a tenth. */
const MOST_BYTES = 2 ** 28
/** Bytes of one tensor that a reader of headers may need, such as the divisors of rotary angles. */
const MOST_TENSOR_BYTES = 1 << 20
/** Weight files that are asked for at a time. */
const PARALLEL = 6

/** A model whose headers are here. */
export interface HubHeaders {
  /** `hf:ORG/NAME@REVISION` as it was asked for. */
  spec: string
  commit: string
  name: string
  kind: ModelCandidate['kind']
  /** Place in the cache: the folder with config.json, or where the GGUF file would lie. */
  path: string
  /** Size of all weight files. */
  fileBytes: number
  /** What `read` returns; it is called again where it needs bytes that are not here, which are fetched then. */
  using<T>(read: () => T): Promise<T>
  /** Opens the weights over what is here; call it inside of `using`. */
  openArchive(): TensorArchive
  openGguf(): GgufArchive
}

/**
 * Reads the headers of a model, or finds the whole of it in the cache: of the commit that the hub names, or offline.
 *
 * @throws SourceError, OptionError (environment), FormatError (headers), AbortError
 */
export async function readHubHeaders(
  spec: HubSpec,
  options: HubOptions,
): Promise<{ resolved: ResolvedSource } | { headers: HubHeaders }> {
  const request = await beginRequest(spec, options)
  if (request.offline) return { resolved: await fromCache(request) }
  return orHint(request, async () => {
    options.progress?.({ stage: 'fetch', text: `asking the hub for ${spec.repository}` })
    const { commit, files } = await listRepository(request)
    const candidate = choose(request, files)
    await request.repository.writeListing(commit, files)
    const resolved = await findComplete(request, commit)
    return resolved ? { resolved } : { headers: await headersOf(request, commit, candidate, files) }
  })
}

async function headersOf(
  request: HubRequest,
  commit: string,
  candidate: ModelCandidate,
  files: readonly string[],
): Promise<HubHeaders> {
  const { spec, subject, repository, options } = request
  const weights = new Set(candidate.weights)
  // The reference stays as it is: it may name an older commit that is here whole, for work offline.
  for (const file of neededFiles(candidate, files))
    if (!weights.has(file)) await fetchFile(request, commit, file)
  const place = (file: string) => repository.snapshot(commit, file)
  const isGguf = candidate.kind === 'gguf'
  const names = await weightFiles(candidate, files, subject, place)
  // Of a GGUF in several files the first has the metadata, as on a disk.
  const fetcher = new HeaderFetcher(request, commit)
  if (spec.sha256 !== undefined)
    await checkDeclaredHash(request, spec.sha256, addressOf(request, commit, names[0]!))
  const sources: PartialSource[] = []
  const wanted = isGguf ? names.slice(0, 1) : names
  for (let from = 0; from < wanted.length; from += PARALLEL) {
    options.progress?.({ stage: 'fetch', text: 'reading headers', done: from, total: wanted.length })
    const opened = wanted.slice(from, from + PARALLEL).map(async (file) => {
      const source = await fetcher.open(file, place(file), isGguf ? FIRST_RANGE : LENGTH_BYTES)
      await fetcher.using(() => (isGguf ? void openGgufSource(source) : void readHeader(source)))
      return source
    })
    sources.push(...(await Promise.all(opened)))
  }
  fetcher.headersAreRead()
  const byPath = new Map(sources.map((source) => [source.name, source]))
  const index = candidate.path === '' ? INDEX_FILE : `${candidate.path}/${INDEX_FILE}`
  const indexed = sources.length > 1 && files.includes(index)
  return {
    spec: subject,
    commit,
    name: isGguf ? splitPath(candidate.path)[1].replace(/\.gguf$/i, '') : splitPath(spec.repository)[1],
    kind: candidate.kind,
    path: place(candidate.path),
    fileBytes: sources.reduce((sum, { size }) => sum + size, 0),
    using: (read) => fetcher.using(read),
    openArchive: () =>
      indexed ? openIndex(place(index), (path) => byPath.get(path)!) : openSources(sources),
    openGguf: () => openGgufSource(sources[0]!),
  }
}

const addressOf = ({ spec }: HubRequest, commit: string, file: string): string =>
  `${spec.repository}/resolve/${commit}/${file.split('/').map(encodeURIComponent).join('/')}`

/** The bytes cannot be hashed without all of them, but the hub says which hash they have. */
async function checkDeclaredHash(
  { client, subject }: HubRequest,
  wanted: string,
  address: string,
): Promise<void> {
  const { etag } = await client.metadata(address)
  if (etag !== wanted) throw wrongHash(subject, wanted, etag)
}

/** Brings the bytes that readers of headers ask for. */
class HeaderFetcher {
  readonly #request: HubRequest
  readonly #commit: string
  readonly #addresses = new Map<PartialSource, string>()
  /** Sources whose header ends nobody knows where. */
  readonly #growing = new Set<PartialSource>()
  #left = MOST_BYTES
  #longest = MOST_BYTES

  constructor(request: HubRequest, commit: string) {
    this.#request = request
    this.#commit = commit
  }

  /** A weight file with its first bytes. */
  async open(file: string, name: string, first: number): Promise<PartialSource> {
    const address = addressOf(this.#request, this.#commit, file)
    const { bytes, size } = await this.#request.client.range(address, 0, first)
    const source = partialSource(name, size)
    source.add(0, bytes)
    this.#addresses.set(source, address)
    if (first > LENGTH_BYTES) this.#growing.add(source)
    return source
  }

  /** From here on only small tensors are brought. */
  headersAreRead(): void {
    this.#longest = MOST_TENSOR_BYTES
    this.#growing.clear()
  }

  async using<T>(read: () => T): Promise<T> {
    for (;;) {
      try {
        return read()
      } catch (error) {
        if (!(error instanceof MissingBytes)) throw error
        await this.#fetch(error)
      }
    }
  }

  async #fetch({ source, offset, length }: MissingBytes): Promise<void> {
    const { client, subject } = this.#request
    const step = this.#growing.has(source) ? Math.min(offset, LONGEST_RANGE) : 0
    const end = Math.min(source.size, offset + Math.max(length, step))
    this.#left -= end - offset
    if (length > this.#longest || this.#left < 0)
      throw new SourceError(
        `${subject}: headers of at most ${MOST_BYTES} bytes are read without the weights, ${printable(source.name)} needs more; fetch the model with pare pull`,
        { code: 'PARE_E_HUB_HEADERS', facts: { source: subject, bytes: length } },
      )
    const { bytes, size } = await client.range(this.#addresses.get(source)!, offset, end)
    if (size !== source.size || bytes.length < length)
      throw new SourceError(
        `${subject}: ${printable(source.name)} had ${source.size} bytes and has ${size}; run again`,
        { code: 'PARE_E_HUB_ANSWER', facts: { source: subject, bytes: size } },
      )
    source.add(offset, bytes)
  }
}
