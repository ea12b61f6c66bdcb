/** What a compression is asked to store numbers in, and what its result computes in. */
import { OptionError, printable } from '../tensor/errors.ts'
import type { CompressOptions, ResolvedCompressOptions } from './compress_options.ts'
import type { ChosenTarget } from './targets.ts'

/** @throws OptionError where the program decides, and for activations narrower than the weights. */
export function arithmeticOf(
  { embedding: asked, activations: computed }: CompressOptions,
  chosen: ChosenTarget,
): Pick<ResolvedCompressOptions, 'embedding' | 'activations'> {
  const embedding = embeddingOf(asked, chosen)
  const activations = activationsOf(computed, chosen)
  if (activations !== 'F16') return { embedding, activations }
  if (embedding !== 'F32') return { embedding: 'F16', activations }
  throw new OptionError(
    '--activations: F16 goes with weights in F16, got --embedding F32; leave one of them out, or choose --embedding F16',
    { code: 'PARE_E_ACTIVATIONS', facts: { embedding, activations } },
  )
}

function embeddingOf(asked: string | undefined, { name: target, facts }: ChosenTarget): string | undefined {
  if (asked === undefined) return undefined
  const name = asked.toLowerCase() === 'keep' ? 'keep' : asked.toUpperCase()
  const possible = facts.embedding
  if (possible.includes(name)) return name
  throw new OptionError(
    possible.length === 0
      ? `--embedding: ${facts.title} keeps the embedding in half floats; leave it out`
      : `--embedding: there is no ${printable(asked)} for --target ${target}; possible are ${possible.join(', ')}`,
  )
}

/** @throws OptionError for a type that there is not, and for a target that leaves it to its program. */
export function activationsOf(
  asked: 'F32' | 'F16' | undefined,
  { name: target, facts: { activations } }: ChosenTarget,
): 'F32' | 'F16' | undefined {
  if (asked === undefined) return activations[0]
  if (activations.includes(asked)) return asked
  const found = printable(String(asked))
  throw new OptionError(
    activations.length === 0
      ? `--activations: is for --target onnx and transformers.js, whose files say what is computed in, got ${found} for --target ${target}; leave it out`
      : `--activations: ${activations.join(' or ')} is needed, got ${found}; choose one of them`,
    { code: 'PARE_E_ACTIVATIONS', facts: { target, activations: found } },
  )
}
