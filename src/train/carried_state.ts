/**
 * Recurrent language models in training with truncated backpropagation through time: the state behind a window is that
 * before the next window of the text, and no gradient goes from one to the other.
 *
 * A row goes on with the state of its place in the batch before where its window is the one behind that; else it begins
 * anew. So any order of windows is right, and `continuingOrder` is the one in which rows go on.
 */
import type { LstmLanguageModel } from '../models/lstm/lstm_model.ts'
import type { Parameters } from '../nn/parameters.ts'
import type { ForwardPass } from '../optim/training_task.ts'
import { OptionError } from '../tensor/errors.ts'
import { isRecomputing, type State, scope, type Tensor, tensor, unrecorded, zeros } from '../tensor/index.ts'
import type { LogitsTask } from './labelled_task.ts'
import { type LanguageBatch, type LanguageTaskOptions, languageTask } from './language_task.ts'

/** Buffers that belong to the training and not to the model begin so. */
export const carriedPrefix = 'state.'

/** What is carried, as buffers of the run: it is saved with it. */
interface Carried {
  /** u32 [batch]: the window that each row goes on with. */
  readonly next: State
  readonly layers: readonly { readonly hidden: State; readonly cell: State }[]
}

/**
 * The task of `languageTask` with a state that is carried on. In evaluation every window begins anew.
 *
 * @param batch windows of every batch
 * @throws OptionError from a step with another number of windows
 * @example
 * const task = carriedLanguageTask(model, parameters, 20)
 * const loader = createLoader(windows, { batch: 20, dropLast: true, order: continuingOrder })
 */
export function carriedLanguageTask(
  model: LstmLanguageModel,
  parameters: Parameters,
  batch: number,
  options: LanguageTaskOptions = {},
): LogitsTask<LanguageBatch> {
  const carried = addBuffers(model, parameters, batch)
  const plain = languageTask(model, parameters, options)
  const logits = ({ ids, inputs }: LanguageBatch, pass: ForwardPass): Tensor => {
    if (!pass.training) return model.logits(inputs, pass)
    if (ids.length !== batch)
      throw new OptionError(
        `carried state: needs batches of ${batch} windows, got ${ids.length}; leave out the last batch of an epoch`,
        { facts: { needed: batch, found: ids.length } },
      )
    return scope(() => {
      const next = carried.next.tensor().toArray() as Uint32Array
      const goesOn = tensor(
        Uint8Array.from(ids, (id, row) => Number(id > 0 && id === next[row])),
        [batch, 1],
        'bool',
      )
      const before = carried.layers.map(({ hidden, cell }) => ({
        hidden: goesOn.where(hidden.tensor(), 0),
        cell: goesOn.where(cell.tensor(), 0),
      }))
      const found = model.forward(inputs, { ...pass, state: before })
      if (!isRecomputing())
        unrecorded(() => {
          carried.next.assign(
            tensor(
              ids.map((id) => id + 1),
              [batch],
              'u32',
            ),
          )
          for (const [layer, { hidden, cell }] of carried.layers.entries()) {
            hidden.assign(found.state[layer]!.hidden)
            cell.assign(found.state[layer]!.cell)
          }
        })
      return found.logits
    })
  }
  return {
    ...plain,
    logits,
    losses: (batch, training) => scope(() => plain.lossesOf(logits(batch, { training }), batch)),
  }
}

function addBuffers({ config }: LstmLanguageModel, parameters: Parameters, batch: number): Carried {
  if (!(Number.isSafeInteger(batch) && batch >= 1))
    throw new OptionError(`carried state: needs a whole number of windows from 1 on, got ${batch}`)
  const dtype = parameters.get('embedding.weight').tensor.dtype
  return scope(() => {
    const buffer = (layer: number, part: string) =>
      parameters.addBuffer(`${carriedPrefix}${layer}.${part}`, zeros([batch, config.hidden], dtype))
    return {
      next: parameters.addBuffer(`${carriedPrefix}next`, zeros([batch], 'u32')),
      layers: Array.from({ length: config.layers }, (_, layer) => ({
        hidden: buffer(layer, 'hidden'),
        cell: buffer(layer, 'cell'),
      })),
    }
  })
}
