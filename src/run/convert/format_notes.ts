/** What whoever opens a result should know of its format, seen with the libraries themselves. */
import type { TargetPlan } from '../../models/write/model_writer.ts'
import type { ResolvedConvertOptions } from './convert_options.ts'

/** A line for each; nothing where every reader of the target takes the result as it is. */
export function formatNotes(
  { layout, target, format }: ResolvedConvertOptions,
  { tensors }: Pick<TargetPlan, 'tensors'>,
): string[] {
  const grids = tensors.flatMap(({ described, grid }): { symmetric: boolean; sorted?: boolean }[] =>
    described?.kind === 'grid' ? [described] : grid?.kind === 'affine' ? [grid] : [],
  )
  const packed = layout.format === 'compressed-tensors'
  return [
    ...(layout.format === 'gptq_v2' && format === undefined
      ? [
          'zeros of 0 need the second version of GPTQ, gptq_v2, which was taken: readers differ in what they make of them in the first',
        ]
      : []),
    ...(packed && target === 'transformers' && grids.some(({ symmetric }) => !symmetric)
      ? [
          'transformers opens packed zeros with CompressedTensorsConfig(dequantize=True) only; vLLM 0.8.5 and newer computes with them',
        ]
      : []),
    ...(packed && grids.some(({ sorted }) => sorted)
      ? [
          'columns are sorted into groups that weight_g_idx names: compressed-tensors 0.13 to 0.18 and vLLM read it, 0.19 and newer do not',
        ]
      : []),
  ]
}
