/** AQLM checkpoints: for each group of weights an index into each of its codebooks. transformers and vLLM load them. */
import { aqlmCodes, aqlmType } from '../../formats/aqlm_codes.ts'
import type { PareWeight } from '../../formats/pare_weight.ts'
import { OptionError } from '../../tensor/errors.ts'
import { asStorage, bytesOf, type Tensor } from '../../tensor/index.ts'
import { type LayerOptions, planCheckpoint } from './checkpoint_target.ts'
import type { FolderSource } from './folder_source.ts'
import { type CodedLayer, type LayerEncoding, moduleOf } from './layer_encoding.ts'
import type { TargetPlan } from './model_writer.ts'

/** Codebooks of a layer, as `codebook` of a description. */
export type CodebookForm = Pick<PareWeight & { kind: 'codebook' }, 'bits' | 'books' | 'entries' | 'tile'>

/**
 * Plans the folder. Every linear weight is described as a codebook or kept.
 *
 * @param form of every layer: config.json says it once
 * @throws OptionError where a layer has other codebooks.
 */
export const planAqlm = (
  source: FolderSource,
  form: CodebookForm,
  options: Omit<LayerOptions, 'grid'>,
): TargetPlan => planCheckpoint(source, aqlmEncoding(form), options)

export const aqlmEncoding = (form: CodebookForm): LayerEncoding<CodebookForm> => ({
  target: 'aqlm',
  title: 'an AQLM checkpoint',
  mixed: false,
  formOf: (described) => (described.kind === 'codebook' ? described : undefined),
  need: ({ grid }) =>
    nameOf(grid) === nameOf(form) && grid.entries === 2 ** grid.bits
      ? undefined
      : `${nameOf(form)} in all layers`,
  tensors({ name, shape: [rows, columns], grid: { bits, books, tile } }) {
    const [down, across] = [rows / tile.rows, columns / tile.columns]
    const stem = moduleOf(name)
    return [
      { name: `${stem}.codes`, type: aqlmType(bits), shape: [down, across, books] },
      { name: `${stem}.codebooks`, type: 'F16', shape: [books, 2 ** bits, tile.rows, tile.columns] },
      { name: `${stem}.scales`, type: 'F16', shape: [down, 1, 1, 1] },
    ]
  },
  encode({ name, grid: { bits } }: CodedLayer<CodebookForm>, values) {
    if (values.kind !== 'codebook')
      throw new OptionError(`${name}: an AQLM file stores codebooks, the method made something else`)
    const [outputGroups, inputGroups, codebooks] = values.codes.shape as [number, number, number]
    const indices = asStorage('u16', values.codes.cast('u16').bytes()) as Uint16Array
    const stem = moduleOf(name)
    const half = (x: Tensor) => x.cast('f16').bytes()
    return [
      {
        name: `${stem}.codes`,
        bytes: bytesOf(aqlmCodes(indices, { outputGroups, inputGroups, codebooks, bits })),
      },
      { name: `${stem}.codebooks`, bytes: half(values.codebooks) },
      { name: `${stem}.scales`, bytes: half(values.scales) },
    ]
  },
  configuration: (_, leftOut) => ({
    quantization_config: {
      quant_method: 'aqlm',
      in_group_size: form.tile.columns,
      out_group_size: form.tile.rows,
      num_codebooks: form.books,
      nbits_per_codebook: form.bits,
      // transformers 4 asks for names of parameters, 5 for those of modules.
      linear_weights_not_to_quantize: ['lm_head.weight', ...leftOut].flatMap((name) => [
        name,
        moduleOf(name),
      ]),
    },
  }),
})

/** `2 codebooks of 8 bits over 1 x 8 weights` */
const nameOf = ({ books, bits, tile }: CodebookForm): string =>
  `${books} ${books === 1 ? 'codebook' : 'codebooks'} of ${bits} bits over ${tile.rows} x ${tile.columns} weights`
