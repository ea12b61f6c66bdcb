/** Classifiers of images, opened to be written as ONNX: EfficientNet-Lite0 from its torch file, and what Pare trained. */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { openSafetensors } from '../formats/safetensors/safetensors.ts'
import { readJsonFile } from '../formats/tokenizer/tokenizer.ts'
import { FormatError, printable } from '../tensor/errors.ts'
import { isClassifierConfig } from './classifiers/classifier_config.ts'
import { loadClassifier } from './classifiers/load_classifier.ts'
import { openEfficientNetLite0 } from './efficientnet/efficientnet.ts'
import { finiteWeights } from './finite_weights.ts'
import { sizeOfFiles } from './huggingface_model.ts'
import type { ModelWeights } from './model_weights.ts'
import { arrangedWeights } from './onnx/folded_norms.ts'
import { classifierImages, efficientNetImages, type ImageModel } from './onnx/image_sources.ts'
import { storedWeights } from './stored/stored_weights.ts'
import type { OnnxSource } from './write/onnx_target.ts'

export interface OpenImageModel {
  readonly family: 'image'
  /** Human name, for reports. */
  readonly name: string
  /** File or folder. */
  readonly path: string
  readonly format: 'torch' | 'huggingface'
  /** As a graph has them: batch norms are inside of the convolutions before them. */
  readonly weights: ModelWeights
  /** The same for the target. */
  readonly source: OnnxSource
  /** Convolutions that a batch norm went into. */
  readonly folded: number
  close(): void
}

/** A torch file, by its name: it says nothing of the network that its weights are for. */
export const isTorchFile = (path: string): boolean =>
  /\.pth?$/i.test(path) && statSync(path, { throwIfNoEntry: false })?.isFile() === true

/**
 * The classifier at a path, or nothing where another kind of model is there.
 *
 * @throws FormatError for a torch file of another network, and for a damaged file
 * @example const { source, weights, close } = openImageModel('efficientnet-lite0-57934424.pth', 'lite0')!
 */
export function openImageModel(path: string, name: string): OpenImageModel | undefined {
  if (isTorchFile(path)) {
    const { model, close } = openLite0(path)
    return { ...folded(efficientNetImages(model)), name, path, format: 'torch', close }
  }
  const config = readJsonFile(join(path, 'config.json'))
  if (!config || !isClassifierConfig(config)) return undefined
  const loaded = loadClassifier(path)
  try {
    const archive = openSafetensors(path)
    // As they are stored, where the network has them in f32.
    const weights = finiteWeights(storedWeights(archive, sizeOfFiles(archive)))
    const close = () => {
      loaded.parameters.dispose()
      weights.close()
    }
    return { ...folded({ ...classifierImages(loaded), weights }), name, path, format: 'huggingface', close }
  } catch (error) {
    loaded.parameters.dispose()
    throw error
  }
}

function openLite0(path: string): ReturnType<typeof openEfficientNetLite0> {
  try {
    return openEfficientNetLite0(path)
  } catch (cause) {
    if (!(cause instanceof FormatError) || cause.code !== 'PARE_E_WEIGHT_SHAPE') throw cause
    throw new FormatError(
      `${printable(path)}: of torch files without a config.json EfficientNet-Lite0 is known, this is another network (${cause.message}); export it to ONNX with PyTorch, or give a folder with config.json`,
      { code: 'PARE_E_ARCHITECTURE', facts: { path }, cause },
    )
  }
}

/** Without what a graph has otherwise than the file: the weights are already so. */
function folded({ source: { arranged, ...source }, weights }: ImageModel) {
  const own = arranged ? arrangedWeights(weights, arranged) : weights
  const norms = arranged?.norms ?? 0
  return { family: 'image' as const, weights: own, source: { ...source, infos: own.infos }, folded: norms }
}
