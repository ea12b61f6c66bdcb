import { expect, test } from 'vitest'
import { freshWeights } from '../models/classifiers/fresh_weights.ts'
import type { LstmConfig } from '../models/lstm/config.ts'
import { type LstmForward, LstmLanguageModel, type LstmOutput } from '../models/lstm/lstm_model.ts'
import { Parameters } from '../nn/parameters.ts'
import { sgd } from '../optim/sgd.ts'
import { expectNear, onNative, valuesOf } from '../tensor/contract/claims.suite.ts'
import { concat, dispose, type Tensor, tensor, valueAndGrad } from '../tensor/index.ts'
import { carriedLanguageTask, carriedPrefix } from './carried_state.ts'
import { type LanguageBatch, languageTask } from './language_task.ts'
import { Trainer } from './trainer.ts'

const config: LstmConfig = { vocabulary: 9, embedding: 3, hidden: 4, layers: 2, dropout: 0, tied: false }
const text = Uint32Array.from({ length: 41 }, (_, i) => (i * i + 3 * i) % 9)
/** Windows of four tokens. */
const batchOf = (...ids: number[]): LanguageBatch => {
  const windows = (offset: number) =>
    tensor(
      ids.flatMap((id) => [...text.slice(4 * id + offset, 4 * id + 4 + offset)]),
      [ids.length, 4],
      'u32',
    )
  return { ids: Uint32Array.from(ids), inputs: windows(0), labels: windows(1) }
}
function made(windows = 2) {
  const parameters = new Parameters()
  const model = new LstmLanguageModel(config, freshWeights(parameters, { seed: 1, dtype: 'f64' }))
  return { model, parameters, task: carriedLanguageTask(model, parameters, windows) }
}
const training = { step: 0, stream: () => expect.fail('nothing is drawn') }

test('a window that follows the one before sees all that came before it', () => {
  onNative(() => {
    const { model, parameters, task } = made()
    const seen = [batchOf(0, 5), batchOf(1, 6), batchOf(2, 7)].map((batch) =>
      task.logits(batch, { training }),
    )
    const whole = (id: number): Tensor => {
      const ids = tensor([...text.slice(4 * id, 4 * id + 12)], [1, 12], 'u32')
      return model.logits(ids)
    }
    for (const [row, id] of [0, 5].entries()) {
      const rows = concat(seen.map((x) => x.select(0, row)))
      expectNear(rows, valuesOf(whole(id)), { units: 64, scale: 1 })
    }
    parameters.dispose()
  })
})
test('a window that follows another begins anew, and so does evaluation', () => {
  onNative(() => {
    const { model, parameters, task } = made()
    const anew = (batch: LanguageBatch, row: number) => valuesOf(model.logits(batch.inputs).select(0, row))
    task.logits(batchOf(0, 5), { training })
    const [batch, last] = [batchOf(1, 3), batchOf(0, 4)]
    const found = task.logits(batch, { training })
    expect(valuesOf(found.select(0, 0))).not.toEqual(anew(batch, 0))
    expect(valuesOf(found.select(0, 1))).toEqual(anew(batch, 1))
    expect(valuesOf(task.logits(batch, {}))).toEqual(valuesOf(model.logits(batch.inputs)))
    // Evaluation has not touched the state: window 4 goes on with 3, and the text begins anew.
    const next = task.logits(last, { training })
    expect(valuesOf(next.select(0, 0))).toEqual(anew(last, 0))
    expect(valuesOf(next.select(0, 1))).not.toEqual(anew(last, 1))
    parameters.dispose()
  })
})
test('no gradient goes back through the state', () => {
  onNative(() => {
    const { model, parameters, task } = made()
    const before = model.forward(batchOf(0, 5).inputs).state
    task.losses(batchOf(0, 5), training)
    const next = batchOf(1, 6)
    const found = valueAndGrad(() => task.losses(next, training).mean(), parameters.tensors())
    const plain = languageTask(model, parameters)
    const want = valueAndGrad(
      () => plain.lossesOf(model.forward(next.inputs, { state: before }).logits, next).mean(),
      parameters.tensors(),
    )
    expect(found.value.item()).toBe(want.value.item())
    for (const [path, gradient] of found.gradients)
      expect(valuesOf(gradient)).toEqual(valuesOf(want.gradients.get(path)!))
    parameters.dispose()
  })
})
test('a run that was stopped goes on with the state that it had', () => {
  onNative(() => {
    const run = () => {
      const { parameters, task } = made()
      let at = 0
      const loader = {
        next: () => batchOf(at, 5 + at++),
        epoch: 0,
        state: () => at,
        load: (state: unknown) => {
          at = state as number
        },
      }
      const trainer = new Trainer({ task, loader, optimiser: sgd({ rate: 0.1 })(parameters) })
      const bytes = () =>
        [...parameters.states().values()].map((x) => Buffer.from(x.bytes()).toString('base64'))
      return { trainer, bytes, parameters }
    }
    const [whole, first, second] = [run(), run(), run()]
    for (let i = 0; i < 4; i++) whole.trainer.next()
    for (let i = 0; i < 2; i++) first.trainer.next()
    const state = first.trainer.state()
    second.trainer.load(state, first.trainer.position())
    dispose(Object.values(state))
    for (let i = 0; i < 2; i++) second.trainer.next()
    expect(second.bytes()).toEqual(whole.bytes())
    for (const { parameters, trainer } of [whole, first, second]) {
      trainer.dispose()
      parameters.dispose()
    }
  })
})
test('batches of another size are refused', () => {
  onNative(() => {
    const { parameters, task } = made()
    expect(() => task.losses(batchOf(1), training)).toThrow(/batches of 2 windows, got 1/)
    parameters.dispose()
    expect(() => made(0)).toThrow(/from 1 on/)
  })
})
test('a step that is left out for a NaN carries none on: the rows begin anew, and the run goes on learning', () => {
  onNative(() => {
    let step = 0
    class Poisoned extends LstmLanguageModel {
      override forward(ids: Tensor, pass: LstmForward = {}): LstmOutput {
        const { logits, state } = super.forward(ids, pass)
        if (step !== 2) return { logits, state }
        const spoilt = (x: Tensor) => x.mul(Number.NaN)
        return {
          logits: spoilt(logits),
          state: state.map(({ hidden, cell }) => ({ hidden: spoilt(hidden), cell: spoilt(cell) })),
        }
      }
    }
    const parameters = new Parameters()
    const model = new Poisoned(config, freshWeights(parameters, { seed: 1, dtype: 'f64' }))
    const task = carriedLanguageTask(model, parameters, 2)
    const batches = [0, 1, 2, 3].map((id) => batchOf(id, id + 5))
    const trainer = new Trainer({
      task,
      loader: { next: () => batches[step], epoch: 0, state: () => 0, load: () => {} },
      optimiser: sgd({ rate: 0.1 })(parameters),
      skipAtMost: 1,
    })
    const carried = () =>
      [...parameters.states()].flatMap(([path, state]) =>
        path.startsWith(carriedPrefix) ? Array.from(state.tensor().toArray(), Number) : [],
      )
    const outcomes: { skipped: boolean; before: number[]; after: number[] }[] = []
    for (; step < 4; step++) {
      const before = carried()
      const skipped = trainer.next()!.skipped !== undefined
      outcomes.push({ skipped, before, after: carried() })
    }
    expect(outcomes.map(({ skipped }) => skipped)).toEqual([false, false, true, false])
    expect(outcomes[2]!.after).toEqual(outcomes[2]!.before)
    expect(outcomes[3]!.after.every(Number.isFinite)).toBe(true)
    trainer.dispose()
    parameters.dispose()
  })
})
