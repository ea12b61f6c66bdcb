/** A client of streamed answers that notes when each event came, and what of a stream must be the same every time. */
import { request } from 'node:http'

/**
 * Sends a body and reads the answer to its end.
 *
 * @param onEvent called with the number of events so far
 * @param onResponse gets the response before anything is read, for a reader that pauses
 * @returns status and headers; events as texts with the millisecond in which each came; `text` of an answer without events
 */
export function streamed({ port, agent, path, body, signal, onEvent = () => {}, onResponse = () => {} }) {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
    const options = { host: '127.0.0.1', port, agent, path, method: 'POST', headers, signal }
    const sent = request(options, (response) => {
      const { statusCode: status, headers } = response
      const events = []
      let rest = ''
      response.setEncoding('utf8')
      response.on('data', (text) => {
        const parts = (rest + text).split('\n\n')
        rest = parts.pop()
        const at = performance.now()
        for (const part of parts) {
          if (!part.startsWith('data: ')) continue
          events.push({ at, data: part.slice('data: '.length) })
          onEvent(events.length)
        }
      })
      response.on('error', reject)
      response.on('end', () => resolve({ status, headers, events, text: rest }))
      onResponse(response)
    })
    sent.on('error', reject)
    sent.end(body)
  })
}

/** What a stream said: its id, whether it ended as it should, and its content without id and time, text by text. */
export function contentOf(events) {
  const done = events.at(-1)?.data === '[DONE]'
  const ids = new Set()
  const texts = new Map()
  const reasons = new Map()
  for (const { data } of done ? events.slice(0, -1) : events) {
    const { id, created, ...content } = JSON.parse(data)
    ids.add(id)
    const [choice] = content.choices ?? []
    const index = choice?.index ?? 'all'
    texts.set(index, `${texts.get(index) ?? ''}${JSON.stringify(content)}\n`)
    if (choice) reasons.set(index, choice.finish_reason)
  }
  const finished = done && reasons.size > 0 && ![...reasons.values()].includes(null)
  const content = [...texts]
    .sort(([a], [b]) => (String(a) < String(b) ? -1 : 1))
    .flat()
    .join('\n')
  return { ids: [...ids], finished, content }
}
