import { expect, test } from 'vitest'
import { zooNames } from '../experiments/models/zoo.ts'
import { trainedModels, zooTable } from './zoo_table.ts'

test('every model of the zoo has a row, and one that was trained its cost and quality', () => {
  const rows = zooTable({
    'lm-6m-gqa': {
      parameters: 6_000_000,
      seconds: 150,
      threads: 2,
      evaluation: { bitsPerByte: 1.75, perplexity: 70 },
      commit: 'abc',
      machine: 'a machine',
    },
  }).split('\n')
  expect(rows.filter((row) => row.startsWith('| ['))).toHaveLength(zooNames().length)
  expect(rows.find((row) => row.includes('lm-6m-gqa.yaml'))).toMatch(
    /6 × 256, 8 heads \(4 of keys and values\), SwiGLU 768 \| 6\.00 M \| 3\.1 M tokens of text, vocabulary 4096 \| 2\.5 min, 2 threads \(machine 1, abc\) \| 1\.750 bits a byte/,
  )
  expect(rows.find((row) => row.includes('[mlp]'))).toMatch(
    /20 epochs of 8,000 digits of MNIST \| not trained here yet \| {2}\|$/,
  )
  expect(rows.at(-1)).toBe('Machine 1: a machine')
})

test('what was trained is in the zoo, and took at most 40 minutes but for what ran beside it', () => {
  for (const [name, { seconds }] of Object.entries(trainedModels())) {
    expect(zooNames()).toContain(name)
    expect(seconds).toBeLessThan(2 * 40 * 60)
  }
})
