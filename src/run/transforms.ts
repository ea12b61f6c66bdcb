/** The transforms: what rewrites a model, without changing what it computes, before its weights are compressed. */
import { hadamardFactors } from '../nn/hadamard.ts'
import { rotatedNames, rotationEdits } from '../quantize/hadamard_rotation.ts'
import { awqTransform, smoothquantTransform } from './scaling_transforms.ts'
import type { Transform } from './step_method.ts'

export const transforms = {
  awq: awqTransform,
  smoothquant: smoothquantTransform,
  hadamard: {
    kind: 'transform',
    summary:
      'rotates the hidden states, so that no channel stands out any more; needs no text itself, and gptq behind it',
    needs: [],
    forGrid: false,
    options: { rotateHeads: 'off' },
    names: (source, { rotateHeads }) =>
      rotatedNames(source, rotateHeads === undefined ? {} : { rotateHeads }),
    async edits(source, _, { rotateHeads = false, seed }, { note }) {
      const edits = rotationEdits(source, { seed, rotateHeads })
      const { hidden } = source.model.config
      const { core, power } = hadamardFactors(hidden)
      note(
        `hidden states of ${hidden} are rotated by a Hadamard matrix of ${core} x ${power}, with signs of seed ${seed}${rotateHeads ? '; values of the heads too' : ''}`,
      )
      return edits
    },
  },
} as const satisfies Readonly<Record<string, Transform>>

export type TransformName = keyof typeof transforms
