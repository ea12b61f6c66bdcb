/** `pare chat` as people meet it: in a terminal, and behind a pipe. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { chatTerminal, hasTerminals, paste, prompt } from './chat_terminal.suite.ts'
import { jsonError, type Outcome, root } from './pare_process.suite.ts'

const program = join(root, 'bin/pare.js')
const model = join(root, 'experiments/models/pare-4m')
const environment = { ...process.env, PARE_THREADS: '2', NO_COLOR: '1', TERM: 'xterm' }

function piped(text: string | Uint8Array, ...args: string[]): Outcome {
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [program, 'chat', model, ...args], {
    ...{ input: text, encoding: 'utf8', env: environment, timeout: 60_000 },
  })
  return { code: status, signal, stdout, stderr }
}

describe('behind a pipe', () => {
  test('stdout has the answer alone, the same for the same seed', () => {
    const [first, again] = [1, 2].map(() => piped('The whale', '--raw', '--max-tokens', '12', '--seed', '3'))
    expect(first).toMatchObject({ code: 0, stderr: '' })
    expect(first!.stdout.length).toBeGreaterThan(10)
    expect(again).toEqual(first)
  })
  test('as JSON it has the text and what it cost', () => {
    const { stdout } = piped('The whale', '--raw', '--max-tokens', '12', '--temperature', '0', '--json')
    expect(JSON.parse(stdout)).toMatchObject({
      tokens: 12,
      reason: 'length',
      text: expect.stringMatching(/\w/),
    })
  })
  test('an empty one, one that the context does not hold and a model without a template end with a way out', () => {
    const errors = [
      piped('', '--raw', '--json'),
      piped('many words '.repeat(2000), '--raw', '--json'),
      piped('Hello', '--json'),
    ].map((outcome) => [outcome.code, jsonError(outcome).message])
    expect(errors).toEqual([
      [2, expect.stringMatching(/stdin: is empty; give a text/)],
      [2, expect.stringMatching(/256 tokens at most, the chat has \d{4,} with this text/)],
      [1, expect.stringMatching(/has no chat template; name one by --chat-template FILE, or .* --raw/)],
    ])
  })
  test('bytes that are no UTF-8 are read as U+FFFD, and nothing of it reaches the terminal raw', () => {
    const { code, stdout } = piped(Uint8Array.of(0xff, 0x1b, 0x5b, 0x32, 0x4a), '--raw', '--max-tokens', '4')
    expect(code).toBe(0)
    expect(stdout).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/)
  })
  test('a text far beyond the context is refused before all of it is read', () => {
    const begun = performance.now()
    const { message } = jsonError(piped('a b c '.repeat(2 ** 22), '--raw', '--json'))
    expect(message).toMatch(/256 tokens at most, the chat has more than \d+ with this text/)
    // All of its 12 million tokens take longer than this.
    expect(performance.now() - begun).toBeLessThan(15_000)
  })
  test('options out of their range are refused before the model is opened', () => {
    const refused = [
      ['--top-p', '0'],
      ['--repetition-penalty', '0'],
      ['--temperature', '1e999'],
    ].map((options) => jsonError(piped('x', '--json', ...options)).message)
    expect(refused).toEqual([
      expect.stringMatching(/above 0, up to 1/),
      expect.stringMatching(/from 0.01 to 100/),
      expect.stringMatching(/from 0 to 100/),
    ])
  })
  test('Ctrl-C ends the wait for a text', async () => {
    const child = spawn(process.execPath, [program, 'chat', model, '--raw', '--json'], { env: environment })
    let stderr = ''
    child.stderr.on('data', (data) => {
      stderr += data
    })
    // Its second reader of the signal is there once the model is being loaded.
    const timer = setInterval(() => child.kill('SIGINT'), 1500)
    const [code] = await once(child, 'exit')
    clearInterval(timer)
    expect(code, stderr).toBe(130)
  })
  test.skipIf(process.platform !== 'linux')(
    'a full disk behind stdout is told in a sentence (needs /dev/full)',
    () => {
      const { status, stderr } = spawnSync(
        'sh',
        [
          '-c',
          `echo The whale | '${process.execPath}' '${program}' chat '${model}' --raw --max-tokens 3 > /dev/full`,
        ],
        { env: environment, encoding: 'utf8', timeout: 60_000 },
      )
      expect([status, stderr]).toEqual([
        5,
        'error stdout: cannot be written (ENOSPC); free space, or send it somewhere else [PARE_E_STDOUT]\n',
      ])
    },
  )
})

describe.skipIf(!hasTerminals)('in a terminal (needs script of util-linux)', () => {
  test('a text is answered with its speed and memory; Ctrl-C stops one, and twice it ends with 130', async () => {
    const terminal = chatTerminal(['--raw', '--ignore-end', '--seed', '1'])
    await terminal.until(prompt)
    terminal.type('The whale\r')
    await terminal.until(/The whale[\r\n]+[\s\S]{20}/)
    terminal.type('\u0003')
    expect(await terminal.until(/tokens, .*stopped; \d+ read in .* of memory/)).toBeTruthy()
    await terminal.until(prompt)
    terminal.type('half a line\u0003')
    terminal.type('/clear\r')
    await terminal.until(/a new chat/)
    await terminal.until(prompt)
    terminal.type('\u0003')
    await terminal.until(/once more/)
    terminal.type('\u0003')
    expect(await terminal.ended).toBe(130)
  })
  test('a paste of 20 kB over many lines is one text, and the chat goes on behind it', async () => {
    const terminal = chatTerminal(['--raw', '--max-tokens', '5'])
    await terminal.until(prompt)
    terminal.type(paste('A line of words that is not short.\n'.repeat(600)))
    await terminal.until(/\[paste 1: 601 lines\]/)
    terminal.type('\r')
    expect(await terminal.until(/tokens at most, the chat has \d+/)).toMatch(/256 tokens/)
    await terminal.until(prompt)
    terminal.type(`${paste('two\nlines')} and more\r`)
    await terminal.until(/5 tokens.* read in/)
    await terminal.until(prompt)
    terminal.type('/nothing\r')
    await terminal.until(/is no command; \/help/)
    terminal.type('\u0004')
    expect(await terminal.ended).toBe(0)
  })
})
