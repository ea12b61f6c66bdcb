/** `serve` as a program uses it: from the package, in a process of its own, since its thread is compiled code. */

import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { root } from './cli/pare_process.suite.ts'

/** Runs lines of a module with `serve` at hand. */
function runs(code: string): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(
    process.execPath,
    ['--input-type=module', '--eval', `import * as pare from 'pare'\nconst { serve } = pare\n${code}`],
    { cwd: root, encoding: 'utf8', timeout: 60_000, env: { ...process.env, PARE_THREADS: '2' } },
  )
}
const source = "source: 'experiments/models/pare-4m', port: 0"

test('the example of its documentation prints a text and ends', () => {
  const [, comment] = /@example\n([\s\S]*?)\n \*\/\nexport async function serve/.exec(
    readFileSync(new URL('./server/serve.ts', import.meta.url), 'utf8'),
  )!
  const { status, stdout, stderr } = runs(comment!.replaceAll(/^ \* /gm, ''))
  expect(stderr).toBe('')
  expect(status).toBe(0)
  expect(stdout.length).toBeGreaterThan(20)
})
test('it tells what it serves; closing twice is closing once, and `closed` resolves', () => {
  const { status, stdout, stderr } = runs(`
    const server = await serve({ ${source}, servedName: 'whale', generator: { context: 100 } })
    const { url, port, model } = server
    await Promise.all([server.close({ drain: 0 }), server.close(), server.closed])
    const gone = await fetch(url + '/health').catch(() => 'gone')
    console.log(JSON.stringify({ url: url === 'http://127.0.0.1:' + port, model, gone }))`)
  expect([status, stderr]).toEqual([0, ''])
  expect(JSON.parse(stdout)).toEqual({
    url: true,
    model: {
      id: 'whale',
      context: 100,
      quantization: { format: 'huggingface', bits_per_weight: 16 },
      answers: 'texts',
    },
    gone: 'gone',
  })
})
test('options that cannot be are refused by name, and nothing is left open', () => {
  const cases = [
    "host: ''",
    'port: 70000',
    'parallel: 0',
    'maxQueue: -1',
    'maxBody: 0',
    "apiKey: 'ü'",
    "allowedHosts: ['http://a']",
    "servedName: ''",
    'generator: { slots: 3 }',
    'generator: { context: 1e6 }',
  ]
  const { status, stdout, stderr } = runs(`
    for (const options of [${cases.map((one) => `{ ${source}, ${one} }`).join(', ')}])
      await serve(options).then(
        () => console.log('served'),
        (error) => console.log(error instanceof pare.OptionError, error.message.split(/[: ]/)[0]),
      )`)
  expect([status, stderr]).toEqual([0, ''])
  expect(stdout.trim().split('\n')).toEqual(
    [
      'host',
      'port',
      'parallel',
      'maxQueue',
      'maxBody',
      'apiKey',
      'allowed',
      'servedName',
      'generator.slots',
      'context',
    ].map((name) => `true ${name}`),
  )
})
test('a signal that is aborted before the model is there stops it', () => {
  const { status, stdout } = runs(`
    await serve({ ${source} }, { signal: AbortSignal.abort() }).catch((error) => console.log(error.code))`)
  expect([status, stdout]).toEqual([0, 'PARE_E_ABORTED\n'])
})
