/** What every kind of source is asked with and answers. */
import type { ArchiveLimits } from './archive.ts'

export interface ResolvedSource {
  /** The source in its shortest form; `parseSource` reads it back. */
  spec: string
  kind: 'path' | 'pypi' | 'npm' | 'hf'
  /** Absolute path of the model: a file, or a folder with config.json and safetensors. */
  path: string
  /** Of the archive (pypi, npm) or of the one file (hf with a gguf; a path that was given with a hash). */
  sha256?: string | undefined
  /** The commit on the hub. */
  revision?: string | undefined
  /** Absolute paths of the licences that came with the model, possibly none. */
  licenseFiles: string[]
  /** Human name: of the gguf file without its ending, else of the package, repository or folder. */
  name: string
}

export interface SourceProgress {
  stage: 'fetch' | 'verify' | 'unpack'
  /** One line for a terminal, without numbers. */
  text: string
  /** Bytes so far. */
  done?: number
  /** Bytes in all, where known. */
  total?: number
}

export interface ResolveOptions {
  signal?: AbortSignal | undefined
  progress?: ((event: SourceProgress) => void) | undefined
  /** Pare's cache, for packages only; the hub has its own. @default defaultCacheFolder() */
  cacheFolder?: string | undefined
  /** Use only what is on disk. @default true if HF_HUB_OFFLINE is set, for hf sources; else false */
  offline?: boolean | undefined
  /** Variables to read instead of the process's own. @default process.env */
  environment?: NodeJS.ProcessEnv | undefined
  /** Limits of unpacking; what is left out keeps its default. */
  limits?: Partial<ArchiveLimits> | undefined
  /** Milliseconds before the first repetition of a request to the hub; doubles each time. @default 500 */
  retryDelay?: number | undefined
}
