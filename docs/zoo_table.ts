/** The table of the zoo, from its recipes and from what their trainings told. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { modelsFolder, zooNames, zooSettings } from '../experiments/models/zoo.ts'

/** What a training on one machine cost and gave; the fields of training.json that the table needs. */
export interface Trained {
  parameters: number
  seconds: number
  threads: number
  evaluation: Readonly<Record<string, number>>
  commit: string
  /** Fingerprint of the machine, as one line. */
  machine: string
}

/** By model; one that was not trained yet has no entry. */
export function trainedModels(): Readonly<Record<string, Trained>> {
  const file = join(modelsFolder, 'trained.json')
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {}
}

/** Markdown: one model a row, the language models first. */
export function zooTable(trained = trainedModels()): string {
  const head = ['model', 'what for', 'shape', 'weights', 'learns from', 'cost', 'gave']
  const isLanguage = (name: string) => zooSettings(name).train.data.kind === 'text'
  const names = [...zooNames().filter(isLanguage), ...zooNames().filter((name) => !isLanguage(name))]
  const machines = [...new Set(names.flatMap((name) => trained[name]?.machine ?? []))]
  const rows = names.map((name) => {
    const own = trained[name]
    return [
      `[${name}](../experiments/models/${name}.yaml)`,
      purposeOf(name),
      shapeOf(name),
      own ? `${(own.parameters / 1e6).toFixed(2)} M` : '',
      dataOf(name),
      own ? costOf(own, machines.indexOf(own.machine) + 1) : 'not trained here yet',
      own ? qualityOf(own) : '',
    ]
  })
  const table = [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n')
  return [table, ...machines.map((machine, i) => `${i === 0 ? '\n' : ''}Machine ${i + 1}: ${machine}`)].join(
    '\n',
  )
}

/** The comment that a recipe begins with. */
function purposeOf(name: string): string {
  const [, text] = /^# (.+)\n/.exec(readFileSync(join(modelsFolder, `${name}.yaml`), 'utf8')) ?? []
  if (!text) throw new Error(`${name}.yaml: begins with no line that says what the model is for`)
  return text
}

function shapeOf(name: string): string {
  const { model } = zooSettings(name).train
  if (!('family' in model)) return ''
  switch (model.family) {
    case 'llama': {
      const { layers, hidden, heads, kvHeads = heads, feedForward } = model
      return `${layers} × ${hidden}, ${heads} heads${kvHeads === heads ? '' : ` (${kvHeads} of keys and values)`}, SwiGLU ${feedForward}`
    }
    case 'lstm':
      return `LSTM, ${model.layers} × ${model.hidden}`
    case 'resnet':
      return `ResNet-${model.depth}`
    case 'lenet':
      return 'two convolutions, two linear layers'
    case 'mlp':
      return `linear layers of ${model.hidden.join(' and ')}`
  }
}

function dataOf(name: string): string {
  const { data, batch, steps, epochs } = zooSettings(name).train
  if (data.kind === 'text') {
    const tokens = steps! * batch * data.length
    const vocabulary = typeof data.tokenizer === 'object' ? data.tokenizer.vocabulary : undefined
    return `${(tokens / 1e6).toFixed(1)} M tokens of text, vocabulary ${vocabulary}`
  }
  return `${epochs} epochs of 8,000 ${data.kind === 'mnist' ? 'digits of MNIST' : 'moved digits on textures'}`
}

const costOf = ({ seconds, threads, commit }: Trained, machine: number): string =>
  `${(seconds / 60).toFixed(1)} min, ${threads} threads (machine ${machine}, ${commit})`

const qualityOf = ({ evaluation: { bitsPerByte, perplexity, accuracy } }: Trained): string =>
  accuracy === undefined
    ? `${bitsPerByte!.toFixed(3)} bits a byte, perplexity ${perplexity!.toFixed(2)}`
    : `${(100 * accuracy).toFixed(2)}% of 2,000 held-out digits`
