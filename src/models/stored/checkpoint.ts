/** One table of the checkpoint formats whose layers are codes: what config.json calls them, and who reads them. */
import type { TensorArchive } from '../../formats/archive.ts'
import { isSmallFloat } from '../../formats/small_floats.ts'
import { FormatError, printable } from '../../tensor/errors.ts'
import { configFromHuggingFace } from '../llama/config.ts'
import { weightShapes } from '../llama/weight_shapes.ts'
import { aqlmLayers, readAqlmConfig } from './aqlm_layers.ts'
import { awqLayers, readAwqConfig } from './awq_layers.ts'
import { readCompressedTensorsConfig } from './compressed_tensors_config.ts'
import { compressedTensorsLayers } from './compressed_tensors_layers.ts'
import { gptqLayers, readGptqConfig } from './gptq_layers.ts'
import { mlxLayers, readMlxConfig } from './mlx_layers.ts'
import { readSpqrConfig, spqrLayers } from './spqr_layers.ts'
import { isMap, type StoredLayer } from './stored_layer.ts'

/** Reads the configuration and lists the layers; their tensors are read when values are asked for. */
type LayerReader = (
  archive: TensorArchive,
  quantization: Record<string, unknown>,
  configJson: Record<string, unknown>,
) => StoredLayer[]

/** By `quant_method`. */
const readers = {
  gptq: (archive, quantization) => gptqLayers(archive, readGptqConfig(quantization)),
  awq: (archive, quantization) => awqLayers(archive, readAwqConfig(quantization)),
  'compressed-tensors': (archive, quantization) =>
    compressedTensorsLayers(archive, readCompressedTensorsConfig(quantization)),
  aqlm: (archive, quantization) => aqlmLayers(archive, readAqlmConfig(quantization)),
  // Its tensors have no shapes: those of the model are needed.
  spqr: (archive, quantization, configJson) =>
    spqrLayers(archive, readSpqrConfig(quantization), weightShapes(configFromHuggingFace(configJson))),
  mlx: (archive, quantization) => mlxLayers(archive, readMlxConfig(quantization)),
} satisfies Record<string, LayerReader>

export type CheckpointFormat = keyof typeof readers

export interface Checkpoint {
  readonly format: CheckpointFormat | 'huggingface'
  readonly layers: readonly StoredLayer[]
}

/**
 * The layers of a Hugging Face folder that are stored as codes, by the `quantization_config` of its config.json.
 *
 * @throws FormatError for a method that Pare does not read, and for codes that no configuration explains.
 */
export function checkpointOf(archive: TensorArchive, configJson: Record<string, unknown>): Checkpoint {
  // compressed-tensors called it otherwise once, and MLX writes one name or both.
  const quantization =
    configJson.quantization_config ?? configJson.compression_config ?? configJson.quantization
  if (quantization === undefined || quantization === null) {
    refuseCodes(archive)
    return { format: 'huggingface', layers: [] }
  }
  const method = isMap(quantization) ? methodOf(quantization) : undefined
  if (method === undefined)
    throw new FormatError(
      `quantization_config: names no quant_method, which says how codes are read; Pare reads ${Object.keys(readers).join(', ')}`,
      { code: 'PARE_E_QUANT_METHOD', facts: { method: '' } },
    )
  if (typeof method !== 'string' || !Object.hasOwn(readers, method))
    throw new FormatError(
      `quantization_config: quant_method ${printable(String(method))} is not supported; Pare reads ${Object.keys(readers).join(', ')}`,
      { code: 'PARE_E_QUANT_METHOD', facts: { method: String(method) } },
    )
  const format = method as CheckpointFormat
  const read: LayerReader = readers[format]
  return { format, layers: read(archive, quantization as Record<string, unknown>, configJson) }
}

/** MLX names no method. */
const methodOf = (quantization: Record<string, unknown>): unknown =>
  quantization.quant_method ?? ('bits' in quantization && 'group_size' in quantization ? 'mlx' : undefined)

/** What the scale of a weight is called beside the weight: compressed-tensors, and DeepSeek's FP8. */
const scaleEndings = ['_scale', '_scale_inv']

/** Codes that nothing explains, or small floats without their scale, would be taken for weights. */
function refuseCodes(archive: TensorArchive): void {
  const isScaled = (name: string) => scaleEndings.some((ending) => archive.tensors.has(`${name}${ending}`))
  const code = [...archive.tensors.values()].find(
    ({ name, type }) =>
      /\.(?:qweight|weight_packed|dense_weights|compressed|codes)$/.test(name) ||
      (isSmallFloat(type) && isScaled(name)),
  )?.name
  if (code !== undefined)
    throw new FormatError(
      `${printable(code)}: config.json has no quantization_config that says how to read it; fetch the whole folder`,
      { code: 'PARE_E_QUANT_METHOD', facts: { tensor: code } },
    )
}
