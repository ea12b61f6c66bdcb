import { expect, test } from 'vitest'
import { freshWeights } from '../../models/classifiers/fresh_weights.ts'
import { mlp } from '../../models/classifiers/mlp.ts'
import { Parameters } from '../../nn/parameters.ts'
import { classifierTask } from '../../train/classifier_task.ts'
import { withTeacher } from './teacher.ts'

test('maps from hidden states to those of a teacher are drawn with the seed of the recipe', () => {
  const mapOf = (seed: number) => {
    const parameters = new Parameters()
    const task = classifierTask(mlp({ widths: [4, 8, 2] }, freshWeights(parameters, { seed: 0 })), parameters)
    const hidden = [{ student: 'fc1/act', teacher: 'fc1/act', map: { from: 8, to: 16 } }]
    withTeacher(task, { logits: task.logits }, { teacher: 'folder', hidden }, seed)
    const map = [...parameters.get('distillation.0.weight').tensor.toArray()]
    parameters.dispose()
    return map
  }
  expect(mapOf(0)).toHaveLength(128)
  expect(mapOf(1)).not.toEqual(mapOf(0))
  expect(mapOf(1)).toEqual(mapOf(1))
})
