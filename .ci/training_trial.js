/** What the trials of `pare train` share: two small trainings, and the bytes that they leave. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { hashOf as hashOfFiles, pare } from './pare_process.js'

/** Runs `pare train`, with the options of `pare`. */
export const train = (recipe, output, { threads = 1, ...options } = {}) =>
  pare(['train', recipe, '--output', output, '--threads', String(threads)], options)

/** The model; log and report also hold times. */
export const hashOf = (output) => hashOfFiles(output, ['log.jsonl', 'training.json'])

/** A language model of two blocks on a random text. @returns its recipe */
export function languageRecipe(folder, random) {
  const words = Array.from({ length: 40 }, () =>
    Array.from(
      { length: 2 + Math.floor(random() * 6) },
      () => 'abcdefghijklmno'[Math.floor(random() * 15)],
    ).join(''),
  )
  const text = join(folder, 'text.txt')
  const drawn = Array.from({ length: 3000 }, () => words[Math.floor(random() * random() * 40)])
  writeFileSync(text, drawn.join(' '))
  return write(folder, 'language.json', {
    model: { family: 'llama', layers: 2, hidden: 32, heads: 4, kvHeads: 2, feedForward: 48 },
    data: { kind: 'text', files: [text], length: 16, tokenizer: { vocabulary: 280 } },
    batch: 4,
    steps: 24,
    optimiser: { name: 'adamw', rate: 0.01, schedule: { name: 'cosine', warmUp: 3, to: 0.001 } },
    clip: 1,
    average: { decay: 0.9 },
    evaluation: { every: 8, examples: 16 },
    checkpoint: { every: 4 },
  })
}

/** A residual network with batch norm and augmentation on random images of bars, pruned by RigL. @returns its recipe */
export function classifierRecipe(folder, random) {
  const [count, side] = [160, 12]
  const labels = Uint8Array.from({ length: count }, (_, i) => (i + Math.floor(i / 10)) % 10)
  const pixels = new Uint8Array(count * side * side)
  for (let i = 0; i < count; i++)
    for (let at = 0; at < side * side; at++) {
      const row = Math.floor(at / side)
      pixels[i * side * side + at] = (row === labels[i] + 1 ? 160 : 0) + random() * 90
    }
  const files = { images: join(folder, 'images.idx'), labels: join(folder, 'labels.idx') }
  writeIdx(files.images, [count, side, side], pixels)
  writeIdx(files.labels, [count], labels)
  return write(folder, 'classifier.json', {
    model: { family: 'resnet', depth: 8, width: 4 },
    data: { kind: 'idx', ...files, augment: { crop: { padding: 1 }, flip: true, cutout: { size: 3 } } },
    batch: 8,
    accumulate: 2,
    steps: 24,
    optimiser: { name: 'sgd', rate: 0.05, momentum: 0.9, nesterov: true, schedule: { name: 'linear' } },
    methods: [{ method: 'rigl', sparsity: 0.7, every: 3, end: 18, drop: 0.3, distribution: { kind: 'erk' } }],
    evaluation: { every: 8 },
    checkpoint: { every: 4 },
  })
}

function write(folder, name, train) {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, name), JSON.stringify({ pare: 1, train, seed: 3 }))
  return join(folder, name)
}

/** Bytes in the format of MNIST. */
function writeIdx(path, shape, values) {
  const head = Buffer.alloc(4 + 4 * shape.length)
  head[2] = 8
  head[3] = shape.length
  for (const [axis, extent] of shape.entries()) head.writeUInt32BE(extent, 4 + 4 * axis)
  writeFileSync(path, Buffer.concat([head, values]))
}
