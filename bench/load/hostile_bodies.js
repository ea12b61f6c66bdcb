/** What is no request, and requests of ten megabytes; each with the status that it must get. */

const json = (fields) => JSON.stringify(fields)
const head = (path, lines) => `POST ${path} HTTP/1.1\r\nHost: localhost\r\n${lines.join('\r\n')}\r\n\r\n`
function post(path, body, type = 'application/json') {
  const lines = [`Content-Type: ${type}`, `Content-Length: ${Buffer.byteLength(body)}`, 'Connection: close']
  return `${head(path, lines)}${body}`
}

/** `[name, bytes, status]` */
export function garbage(model, random) {
  const completion = (fields) => post('/v1/completions', json({ model, prompt: 'a', ...fields }))
  const bytes = Buffer.from(Array.from({ length: 3000 }, () => Math.floor(random() * 256)))
  return [
    ['random bytes', Buffer.concat([Buffer.of(0), bytes, Buffer.from('\r\n\r\n')]), 400],
    ['the first bytes of TLS', Buffer.of(0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3), 400],
    ['a head of 20000 bytes', `GET /health HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(20_000)}`, 431],
    ['two lengths', head('/v1/completions', ['Content-Length: 1', 'Content-Length: 2']), 400],
    ['another host', 'GET /health HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n', 403],
    ['no JSON', post('/v1/completions', '{"model": "a", prompt}'), 400],
    ['half a JSON', post('/v1/chat/completions', '{"model": "a", "messages": ['), 400],
    ['bytes as JSON', post('/v1/completions', '\u0000\u0001\u0002'), 400],
    ['a form', post('/v1/completions', 'a=b', 'application/x-www-form-urlencoded'), 415],
    ['a list', post('/v1/completions', '[1, 2]'), 400],
    ['deep nesting', post('/v1/completions', '['.repeat(10_000)), 400],
    ['a number as prompt', completion({ prompt: 7 }), 400],
    ['ids that are none', completion({ prompt: [1, -5] }), 400],
    ['a text as max_tokens', completion({ max_tokens: 'many' }), 400],
    ['a temperature of 9', completion({ temperature: 9 }), 400],
    ['an unknown field', completion({ colour: 'red' }), 400],
    ['another model', completion({ model: 'none' }), 404],
    ['no endpoint', post('/v1/nothing', '{}'), 404],
  ]
}

const LARGE = 9_900_000

/** `[path, body, status]`, by name. */
export function largeBodies(model) {
  const completion = (fields, status = 400) => ['/v1/completions', json({ model, ...fields }), status]
  const chat = (messages) => ['/v1/chat/completions', json({ model, messages }), 400]
  const sentence = 'the state of the union is strong '
  const words = sentence.repeat(LARGE / sentence.length)
  const message = { role: 'user', content: 'a' }
  return Object.entries({
    'words as prompt': completion({ prompt: words }),
    'words as message': chat([{ role: 'user', content: words }]),
    'one letter': completion({ prompt: 'a'.repeat(LARGE) }),
    whales: completion({ prompt: '🐋'.repeat(LARGE / 4) }),
    'token ids': completion({ prompt: Array(LARGE / 2).fill(1) }),
    'ids that are none': completion({ prompt: Array(LARGE / 3).fill(-1) }),
    messages: chat(Array(Math.floor(LARGE / 40)).fill(message)),
    'numbers as messages': chat(Array(LARGE / 2).fill(1)),
    keys: completion(Object.fromEntries(Array.from({ length: LARGE / 15 }, (_, i) => [`key${i}`, 1]))),
    'more than may be': completion({ prompt: words + words.slice(0, 1_000_000) }, 413),
  }).map(([name, [path, body, status]]) => ({ name, path, body, status }))
}
