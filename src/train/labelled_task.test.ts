import { expect, test } from 'vitest'
import { Parameters } from '../nn/parameters.ts'
import { sgd } from '../optim/sgd.ts'
import { onNative } from '../tensor/contract/claims.suite.ts'
import { crossEntropy, scope, tensor, zeros } from '../tensor/index.ts'
import { type LabelledBatch, labelledTask } from './labelled_task.ts'
import { Trainer } from './trainer.ts'

/** Two samples of three rows; all of the first count, of the second one does. */
const labels = [0, 1, 1, 2, 9, 9]

test.each(['f32', 'f64', 'bf16'] as const)(
  'rows that are ignored count in no type of numbers: %s',
  (dtype) => {
    onNative(() => {
      const rows = [0.5, -1, 2, 0, 3, 1, 1, 1, -2, 0, 0.25, 4, 5, 5, 5, 1, 2, 3]
      const parameters = new Parameters()
      const logits = parameters.add('logits', tensor(rows, [2, 3, 3], dtype))
      const batch: LabelledBatch = {
        ids: Uint32Array.of(0, 1),
        inputs: zeros([2]),
        labels: tensor(labels, [2, 3], 'u32'),
      }
      const expected = scope(() =>
        crossEntropy(logits.reshape([6, 3]).slice(0, 0, 4), tensor(labels.slice(0, 4), [4], 'u32')).item(),
      )
      const trainer = new Trainer({
        task: labelledTask<LabelledBatch>({ parameters, logits: () => logits, ignored: 9 }),
        loader: { next: () => batch, epoch: 0, state: () => 0, load() {} },
        optimiser: sgd({ rate: 0.1 })(parameters),
        seed: 0,
      })
      expect(trainer.next()!.loss).toBeCloseTo(expected, dtype === 'bf16' ? 1 : 5)
      trainer.dispose()
    })
  },
)
