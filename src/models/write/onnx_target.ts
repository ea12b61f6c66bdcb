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
  type OnnxFloat,
  tensorsOfWeight,
} from '../onnx/weight_tensors.ts'
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
  /** Of activations, of scales, and of weights that are no codes; norms and angles of positions are computed in f32. @default 'F32' */
  type?: OnnxFloat
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
 * @throws OptionError for bits and groups that MatMulNBits has not, and for what the graph cannot store as codes.
 * @example planOnnx(onnxSource(openModel('minilm')), { type: 'F16', layout: 'transformers.js' })
 */
export function planOnnx(source: OnnxSource, options: OnnxTargetOptions = {}): TargetPlan {
  const { type = 'F32', grid, layout = 'onnx' } = options
  const known = new Map<string, GraphWeight>()
  for (const { name, shape } of source.infos.values()) {
    const own = formOf(name, source, options)
    known.set(name, { name, shape: source.arranged?.shape(name) ?? shape, ...(own ? { grid: own } : {}) })
  }
  const builder = new GraphBuilder(type, known)
  const model = source.graph(builder)
  const tensors = builder.weights.map((weight) => planWeight(source, weight, options))
  const weightOf = ({ name }: TensorPlan) => known.get(name)!
  const kind = layout === 'onnx' ? undefined : transformersJsType(type, grid)
  const file = fileOf(layout, kind ?? 'fp32')
  const files = onnxFiles(basename(file), model, options)
  const encode = (plan: TensorPlan, parts: readonly Uint8Array[]): EncodedTensor[] =>
    tensorsOfWeight(weightOf(plan), type).map(({ name }, i) => ({ name, bytes: parts[i]! }))
  return {
    target: layout,
    tensors,
    fileBytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
    alignment: 1,
    notes: notesOf(source, tensors, files.length),
    stored: (plan) =>
      tensorsOfWeight(weightOf(plan), type).map((info) => ({ name: info.name, bytes: tensorBytes(info) })),
    encodeSource: (plan, compressed) => {
      const { values } = compressed as StoredSource
      return encode(
        plan,
        encodeMatMulNBits(weightOf(plan) as GraphWeight & { grid: AffineGrid }, values, type),
      )
    },
    encodeNumbers: (plan, numbers) =>
      scope(() => {
        const weight = weightOf(plan)
        const values = source.arranged?.values(plan.name, numbers) ?? numbers
        const own = plan.grid
        if (!own) return encode(plan, [asType(values.contiguous(), type).bytes()])
        const codes = columnSweep(values, { grid: own }).values
        return encode(plan, encodeMatMulNBits(weight as CodedWeight, codes, type))
      }),
    encodeKept({ name }) {
      throw new OptionError(`${name}: an ONNX file does not keep bytes of the source`)
    },
    check: () => checkCompanions(source.companions(), kind),
    create: (folder) => onnxWriter(folder, source, { model, file, kind, files: files.length - 1, options }),
  }
}

type CodedWeight = GraphWeight & { grid: GridForm }

/** The levels of a matrix: those it is asked to be rounded to, or those that its codes have already. */
function formOf(
  name: string,
  { matrices }: FolderSource,
  { grid, choices, type = 'F32' }: OnnxTargetOptions,
): GridForm | undefined {
  const choice = choices?.get(name)
  if (choice?.keep || choice?.numbers || choice?.scheme === type) return undefined
  if (choice?.scheme || choice?.mix) throw wrongChoice(choice.scheme ?? choice.mix!, name, choice, type)
  const { described } = choice ?? {}
  if (described && (described.kind !== 'grid' || described.sorted || described.zeroType))
    throw wrongChoice(weightName(described), name, choice!, type)
  const own = described ?? choice?.grid ?? (matrices.has(name) ? grid : undefined)
  if (own?.scaleType === 'f32' && type === 'F16')
    throw new OptionError(
      `${printable(name)}: scales are stored in f16 as the activations are, got a grid with scales in f32; choose f16 for both`,
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
  { grid, choices, type = 'F32' }: OnnxTargetOptions,
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
    type,
    ...(form ? coded : {}),
    kept: false,
    bytes: tensorsOfWeight(weight, type).reduce((sum, tensor) => sum + tensorBytes(tensor), 0),
  }
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
      const type = options.type === 'F16' ? 'float16' : 'float32'
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
function transformersJsConfig({ kind, files, file, options }: Planned): Record<string, unknown> {
  if (!kind) return {}
  return {
    'transformers.js_config': {
      dtype: kind,
      ...(options.type === 'F16' ? { kv_cache_dtype: { [kind]: 'float16' } } : {}),
      ...(files > 0 ? { use_external_data_format: { [basename(file)]: files } } : {}),
    },
  }
}
