/** What clients of the load ask for: texts of many lengths, drawn in every way that a seed or the most likely token fixes. */
import { readFileSync } from 'node:fs'
import { randomSeries } from '../../.ci/pare_process.js'
import { defaultEvaluationText } from '../../dist/calibrate/text_samples.js'

/** For models without a chat template of their own. */
export const template =
  '{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:'

const drawing = [
  { temperature: 0 },
  { temperature: 0.8, top_p: 0.95 },
  { temperature: 0 },
  { temperature: 1, top_k: 40, min_p: 0.02, repetition_penalty: 1.1, presence_penalty: 0.5 },
]

/** So many different requests, each a `path` and a `body`. Prompt and text are at most some 220 tokens. */
export function loadRequests(model, count, seed = 0) {
  const random = randomSeries(seed)
  const whole = (least, most) => least + Math.floor(random() * (most - least + 1))
  const words = readFileSync(defaultEvaluationText(), 'utf8').slice(0, 200_000).split(/\s+/)
  return Array.from({ length: count }, (_, i) => {
    const start = whole(0, words.length - 100)
    const text = words.slice(start, start + whole(1, 60)).join(' ')
    const chat = i % 2 === 1
    const chances = i % 5 === 0
    const body = {
      model,
      stream: true,
      max_tokens: whole(8, 80),
      seed: i,
      ...drawing[(i >> 1) % drawing.length],
      ...(i % 3 === 0 ? { stream_options: { include_usage: true } } : {}),
      ...(i % 7 === 0 ? { stop: [';', '\n\n'] } : {}),
      ...(chances ? (chat ? { logprobs: true, top_logprobs: 3 } : { logprobs: 3 }) : {}),
      ...(chat ? { messages: [{ role: 'user', content: text }] } : { prompt: text }),
    }
    return { path: chat ? '/v1/chat/completions' : '/v1/completions', body: JSON.stringify(body) }
  })
}

/** A stream of some 400 kB for each text, so that a few of them are more than a connection holds by itself. */
export const wideRequest = (model, texts) => ({
  path: '/v1/chat/completions',
  body: JSON.stringify({
    model,
    stream: true,
    messages: [{ role: 'user', content: 'The state of the Union' }],
    n: texts,
    seed: 1,
    max_tokens: 230,
    ignore_eos: true,
    logprobs: true,
    top_logprobs: 20,
  }),
})
