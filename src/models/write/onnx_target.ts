/**
 * Writes a folder with an ONNX model: config, tokenizer and `model.onnx`, or `onnx/model_q4.onnx` and its like where
 * transformers.js looks for it. `models/onnx` has the graphs. Weights are under their own names, so that Pare reads the
 * folder back; matrices on a grid are computed by com.microsoft MatMulNBits.
 */
import { basename, dirname, join } from 'node:path'
import { disk } from '../../formats/disk.ts'
import type { ExternalOptions } from '../../formats/onnx/external_layout.ts'
import type { OnnxModel } from '../../formats/onnx/graph.ts'
import { tensorBytes } from '../../formats/onnx/graph_check.ts'
import { createOnnx, onnxFiles } from '../../formats/onnx/writer.ts'
import { writeWhole } from '../../formats/output.ts'
import { columnSweep } from '../../nn/column_sweep.ts'
import { type AffineGrid, type GridForm, gridName } from '../../nn/grid.ts'
import type { StoredSource } from '../../nn/values/values.ts'
import { OptionError, printable } from '../../tensor/errors.ts'
import { scope } from '../../tensor/index.ts'
import { fileOf, type OnnxLayout, type TransformersJsType, transformersJsType } from '../onnx/export_names.ts'
import type { ArrangedWeights } from '../onnx/folded_norms.ts'
import { GraphBuilder } from '../onnx/graph_builder.ts'
import {
  encodeMatMulNBits,
  type GraphWeight,
  numberType,
  type OnnxFloat,
  type OnnxTypes,
  tensorsOfWeight,
} from '../onnx/weight_tensors.ts'
import { withWideWeights } from '../onnx/wide_weights.ts'
import { weightName } from '../stored/pare_layers.ts'
import { asType, type FolderCompanions, type FolderSource, json } from './folder_source.ts'
import type { EncodedTensor, ModelWriter, TargetPlan } from './model_writer.ts'
import type { TensorChoice, TensorChoices } from './tensor_choice.ts'
import { roleOf, type TensorPlan } from './tensor_plan.ts'

export interface OnnxSource extends FolderSource {
  /** Builds the network over the weights that the builder knows. */
  graph(builder: GraphBuilder): OnnxModel
  /** Weights as the graph has them. @default as the model has them */
  arranged?: ArrangedWeights
}

export interface OnnxTargetOptions extends ExternalOptions {
  /** In which weights are stored that are no codes. @default that of the activations */
  type?: OnnxFloat
  /**
   * In which the network computes, with the scales of codes and the cache; sums of blocks, norms and angles of positions
   * are computed in f32. F16 needs weights in F16. @default 'F32'
   */
  activations?: OnnxFloat
  /** Of the matrices: 4 or 8 bits, groups of 16, 32, 64, 128 or 256. @default they are numbers */
  grid?: AffineGrid
  /** What is asked for single tensors: another grid, or to stay numbers. */
  choices?: TensorChoices
  /** @default 'onnx' */
  layout?: OnnxLayout
}

/**
 * Plans the folder.
 *
 * @throws OptionError for bits and groups that MatMulNBits has not, for what the graph cannot store as codes, and for
 * activations narrower than the weights.
 * @example planOnnx(onnxSource(openModel('minilm')), { type: 'F16', layout: 'transformers.js' })
 */
export function planOnnx(source: OnnxSource, options: OnnxTargetOptions = {}): TargetPlan {
  const { grid, layout = 'onnx' } = options
  const types = typesOf(options)
  const known = new Map(graphWeights(source, options, types).map((weight) => [weight.name, weight]))
  const builder = new GraphBuilder(types, known)
  const model = source.graph(builder)
  const tensors = builder.weights.map((weight) => planWeight(source, weight, options, types))
  const weightOf = ({ name }: TensorPlan) => known.get(name)!
  const kind = layout === 'onnx' ? undefined : transformersJsType(types, grid)
  const file = fileOf(layout, kind ?? 'fp32')
  const files = onnxFiles(basename(file), model, options)
  const encode = (plan: TensorPlan, parts: readonly Uint8Array[]): EncodedTensor[] =>
    tensorsOfWeight(weightOf(plan), types).map(({ name }, i) => ({ name, bytes: parts[i]! }))
  return {
    target: layout,
    tensors,
    fileBytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
    alignment: 1,
    notes: [...arithmeticNotes(types, tensors), ...notesOf(source, tensors, files.length)],
    stored: (plan) =>
      tensorsOfWeight(weightOf(plan), types).map((info) => ({ name: info.name, bytes: tensorBytes(info) })),
    encodeSource: (plan, compressed) => {
      const { values } = compressed as StoredSource
      return encode(plan, encodeMatMulNBits(weightOf(plan) as CodedWeight, values, types.activations))
    },
    encodeNumbers: (plan, numbers) =>
      scope(() => {
        const weight = weightOf(plan)
        const values = source.arranged?.values(plan.name, numbers) ?? numbers
        const own = plan.grid
        if (!own) return encode(plan, [asType(values.contiguous(), numberType(weight, types)).bytes()])
        const codes = columnSweep(values, { grid: own }).values
        return encode(plan, encodeMatMulNBits(weight as CodedWeight, codes, types.activations))
      }),
    encodeKept({ name }) {
      throw new OptionError(`${name}: an ONNX file does not keep bytes of the source`)
    },
    check: () => checkCompanions(source.companions(), kind),
    create: (folder) =>
      onnxWriter(folder, source, { model, file, kind, types, files: files.length - 1, options }),
  }
}

type CodedWeight = GraphWeight & { grid: GridForm }

function typesOf({ activations = 'F32', type = activations }: OnnxTargetOptions): OnnxTypes {
  if (activations === 'F32' || type === 'F16') return { numbers: type, activations }
  throw new OptionError(
    'activations: F16 goes with weights in F16, got weights in F32, whose digits would be lost in every product; store the weights in F16 too, or compute in F32',
    { code: 'PARE_E_ACTIVATIONS', facts: { type, activations } },
  )
}

/** Every weight that a graph may take, and how it is stored. */
function graphWeights(
  source: OnnxSource,
  options: OnnxTargetOptions,
  types: OnnxTypes,
): readonly GraphWeight[] {
  const { infos, arranged } = source
  const weights = [...infos.values()].flatMap(({ name, shape }): GraphWeight[] => {
    if (arranged?.absorbed.has(name)) return []
    const own = formOf(name, source, options, types)
    return [{ name, shape: arranged?.shape(name) ?? shape, ...(own ? { grid: own } : {}) }]
  })
  if (types.numbers === types.activations) return weights
  return withWideWeights(weights, (name) => options.choices?.get(name)?.scheme !== undefined)
}

/** The levels of a matrix: those it is asked to be rounded to, or those that its codes have already. */
function formOf(
  name: string,
  { matrices }: FolderSource,
  { grid, choices }: OnnxTargetOptions,
  { numbers: type, activations }: OnnxTypes,
): GridForm | undefined {
  const choice = choices?.get(name)
  if (choice?.keep || choice?.numbers || choice?.scheme === type) return undefined
  if (choice?.scheme || choice?.mix) throw wrongChoice(choice.scheme ?? choice.mix!, name, choice, type)
  const { described } = choice ?? {}
  if (described && (described.kind !== 'grid' || described.sorted || described.zeroType))
    throw wrongChoice(weightName(described), name, choice!, type)
  const own = described ?? choice?.grid ?? (matrices.has(name) ? grid : undefined)
  if (own?.scaleType === 'f32' && activations === 'F16')
    throw new OptionError(
      `${printable(name)}: scales are stored in f16 as the activations are, got a grid with scales in f32; choose f16 for both, or compute in f32`,
      { code: 'PARE_E_LAYER_FORM', facts: { tensor: name } },
    )
  return own
}

const wrongChoice = (found: string, name: string, { by }: TensorChoice, type: OnnxFloat) =>
  new OptionError(
    `${by}: an ONNX file has ${type} and codes of 4 or 8 bits, got ${found} for ${printable(name)}; choose --target pare or gguf, or keep the weight`,
    { code: 'PARE_E_LAYER_FORM', facts: { tensor: name } },
  )

function planWeight(
  { infos, matrices }: OnnxSource,
  weight: GraphWeight,
  { grid, choices }: OnnxTargetOptions,
  types: OnnxTypes,
): TensorPlan {
  const { name, grid: form } = weight
  const info = infos.get(name)!
  const choice = choices?.get(name)
  const rounded = choice?.grid ?? grid
  const coded = choice?.described
    ? { type: weightName(choice.described), described: choice.described }
    : rounded
      ? { type: gridName(rounded), grid: rounded }
      : {}
  return {
    name,
    shape: info.shape,
    role: roleOf(info, matrices),
    sourceType: info.type,
    type: numberType(weight, types),
    ...(form ? coded : {}),
    kept: false,
    bytes: tensorsOfWeight(weight, types).reduce((sum, tensor) => sum + tensorBytes(tensor), 0),
  }
}

/** What was chosen, where it is not f32 throughout. */
function arithmeticNotes({ numbers, activations }: OnnxTypes, tensors: readonly TensorPlan[]): string[] {
  if (activations === 'F16')
    return [
      'computed in f16, with cache and scales in f16: logits differ by some 1e-3 of the largest; --activations F32 is nearer',
    ]
  if (numbers === 'F32') return []
  const rounded = tensors.filter(
    ({ type, grid, described, sourceType }) =>
      type === 'F16' && !grid && !described && sourceType !== 'F16' && sourceType !== 'BF16',
  )
  const types = [...new Set(rounded.map(({ sourceType }) => sourceType))].join(', ')
  return [
    'numbers are stored in f16, small weights in f32; all is computed in f32',
    ...(rounded.length > 0
      ? [
          `${rounded.length} weights of ${types} are rounded to f16: logits differ by up to some 1e-3 of the largest; stored in f32 they stay as they are`,
        ]
      : []),
  ]
}

function notesOf({ infos, arranged }: OnnxSource, tensors: readonly TensorPlan[], files: number): string[] {
  const taken = new Set(tensors.map(({ name }) => name))
  const left = [...infos.keys()].filter((name) => !taken.has(name) && !arranged?.absorbed.has(name))
  return [
    ...(files > 1 ? [`the weights are in ${files - 1} files beside the graph`] : []),
    ...(left.length > 0
      ? [`${left.length} weights that the graph does not take are left out, such as ${left[0]}`]
      : []),
  ]
}

interface Planned {
  model: OnnxModel
  /** Below the folder. */
  file: string
  /** Of transformers.js, where the folder is for it. */
  kind: TransformersJsType | undefined
  types: OnnxTypes
  /** Files beside the graph. */
  files: number
  options: OnnxTargetOptions
}

function onnxWriter(folder: string, source: OnnxSource, planned: Planned): ModelWriter {
  const { model, file, options } = planned
  const path = join(folder, file)
  const companions = source.companions()
  checkCompanions(companions, planned.kind)
  const { config, files } = companions
  disk().makeFolder(dirname(path))
  const writer = createOnnx(path, model, options)
  return {
    append: (name, bytes) => writer.append(name, bytes),
    finish() {
      writer.finish()
      const type = planned.types.numbers === 'F16' ? 'float16' : 'float32'
      const own = transformersJsConfig(planned)
      writeWhole(join(folder, 'config.json'), json({ ...config, torch_dtype: type, ...own }))
      for (const [name, content] of files) {
        if (name.includes('/')) disk().makeFolder(join(folder, dirname(name)))
        writeWhole(join(folder, name), content)
      }
    },
    abort: () => writer.abort(),
  }
}

/** @throws OptionError where transformers.js would not find how to make the inputs of the model */
function checkCompanions({ files }: FolderCompanions, kind: TransformersJsType | undefined): void {
  if (!kind || files.has('preprocessor_config.json')) return
  for (const name of ['tokenizer.json', 'tokenizer_config.json'])
    if (!files.has(name))
      throw new OptionError(
        `transformers.js needs ${name}, which the folder of the model has not; fetch the whole folder, or choose --target onnx`,
        { code: 'PARE_E_COMPANION', facts: { file: name } },
      )
}

/** What transformers.js must know to find the files and to start the cache, which version 4 sees in the graph. */
function transformersJsConfig({ kind, files, file, types }: Planned): Record<string, unknown> {
  if (!kind) return {}
  return {
    'transformers.js_config': {
      dtype: kind,
      ...(types.activations === 'F16' ? { kv_cache_dtype: { [kind]: 'float16' } } : {}),
      ...(files > 0 ? { use_external_data_format: { [basename(file)]: files } } : {}),
    },
  }
}
