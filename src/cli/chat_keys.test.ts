/** What is typed into `pare chat` while it does something else, and what it leaves of the terminal. */
import { spawnSync } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import { chatCommand, chatTerminal, hasTerminals, paste, prompt, Terminal } from './chat_terminal.suite.ts'

const brief = ['--raw', '--seed', '1', '--max-tokens', '3']
/** 250 tokens, which take half a second. */
const long = ['--raw', '--seed', '1', '--ignore-end']
const begins = /The whale[\r\n]+[\s\S]{10}/
const cost = /tokens.* read in .*memory/
const marksOn = '\u001b[?2004h'
const marksOff = '\u001b[?2004l'

describe.skipIf(!hasTerminals)('in a terminal (needs script of util-linux)', () => {
  test('lines that are typed while a text is written are read behind it, none is lost', async () => {
    const terminal = chatTerminal(long)
    await terminal.until(prompt)
    terminal.type('The whale\r')
    await terminal.until(begins)
    terminal.type('/clear\r/nothing\r\u0004')
    await terminal.until(cost)
    await terminal.until(/a new chat/)
    await terminal.until(/\/nothing is no command/)
    expect(await terminal.ended).toBe(0)
  })
  test('each line of a paste that the terminal does not mark is a text', async () => {
    const terminal = chatTerminal(brief)
    await terminal.until(prompt)
    terminal.type('one\rtwo\rthree\r')
    for (const _ of [1, 2, 3]) await terminal.until(cost)
    terminal.type('\u0004')
    expect(await terminal.ended).toBe(0)
  })
  test('Ctrl-C stops the text that is written and drops the lines that wait', async () => {
    const terminal = chatTerminal(long)
    await terminal.until(prompt)
    terminal.type('The whale\r'.repeat(20))
    // The echo of all lines comes first.
    await terminal.until(/(?:The whale[\r\n]+){20}[\s\S]{10}/)
    terminal.type('\u0003')
    await terminal.until(/stopped; .*memory/)
    terminal.type('/exit\r')
    expect(await terminal.ended).toBe(0)
    expect(terminal.shown.match(/ read in /g)).toHaveLength(1)
  })
  test('a paste of 20 kB that the terminal does not mark is one line', async () => {
    const terminal = chatTerminal(brief)
    await terminal.until(prompt)
    terminal.type('word '.repeat(4000))
    terminal.type('\r')
    await terminal.until(/256 tokens at most, the chat has \d{4,}/)
    terminal.type('\u0004')
    expect(await terminal.ended).toBe(0)
  })
  test('Ctrl-C twice ends behind a paste whose end was lost', async () => {
    const terminal = chatTerminal(brief)
    await terminal.until(prompt)
    terminal.type('\u001b[200~lost')
    await new Promise((resolve) => setTimeout(resolve, 200))
    terminal.type('\u0003')
    await terminal.until(/once more/)
    terminal.type('\u0003')
    expect(await terminal.ended).toBe(130)
  })
  test('tokens that are escape codes or control characters are shown by their number', async () => {
    // At this temperature all 2048 tokens are about as likely, and some thirty of them are control characters.
    const terminal = chatTerminal(['--raw', '--seed', '1', '--ignore-end', '--temperature', '100'])
    await terminal.until(prompt)
    terminal.type('The whale\r')
    const said = (await terminal.until(cost)).split('The whale')[1]!
    expect(said).toMatch(/\\u\{[0-9a-f]+\}/)
    expect(said).not.toMatch(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/)
    terminal.type('\u0004')
    expect(await terminal.ended).toBe(0)
  })
  test('a window that changes its size draws nothing into a text that is written', async () => {
    const terminal = new Terminal(`tty; exec ${chatCommand(long)}`)
    const device = /\/dev\/\S+/.exec(await terminal.until(prompt))![0]
    terminal.type('The whale\r')
    await terminal.until(begins)
    spawnSync('stty', ['-F', device, 'cols', '30'])
    expect(await terminal.until(cost)).not.toContain('\u001b')
    terminal.type('\u0004')
    expect(await terminal.ended).toBe(0)
  })
  test('Ctrl-Z gives the terminal back, and fg goes on with the chat', async () => {
    const terminal = new Terminal(`set -m; ${chatCommand(brief)}; stty -a | grep icanon; fg`)
    await terminal.until(prompt)
    terminal.type('\u001a')
    // Stty writes -icanon where single keys are still taken.
    expect(await terminal.until(/-?icanon/)).toMatch(/(?<!-)icanon/)
    await terminal.until(prompt)
    terminal.type('The whale\r')
    await terminal.until(cost)
    terminal.type('\u0004')
    expect(await terminal.ended).toBe(0)
  })
  test('pastes are marked no longer behind the end by a signal', async () => {
    const terminal = new Terminal(`(sh -c 'echo pid $$; exec "$@"' - ${chatCommand(brief)}); echo ended $?`)
    const [, id] = /pid (\d+)/.exec(await terminal.until(prompt))!
    expect(terminal.shown).toContain(marksOn)
    process.kill(Number(id), 'SIGTERM')
    expect(await terminal.until(/ended \d+/)).toMatch(/130$/)
    expect(terminal.shown.split(marksOff)).toHaveLength(2)
  })
  test('pastes are marked no longer where the reader of stdout leaves', async () => {
    const terminal = new Terminal(`${chatCommand(long)} | head -c 5; echo ended`)
    await terminal.until(prompt)
    terminal.type('The whale\r')
    await terminal.until(/ended/)
    expect(terminal.shown.split(marksOff)).toHaveLength(2)
  })
  test.each([
    ['TERM is dumb', { TERM: 'dumb' }, ''],
    ['stderr is a file', {}, ' 2>/dev/null'],
  ])('no codes are sent where %s, and lines are typed all the same', async (_, env, to) => {
    const terminal = new Terminal(`echo begun; ${chatCommand(brief)}${to}; echo ended`, env)
    await terminal.until(/begun/)
    terminal.type('The whalf\u007fe\r')
    terminal.type('/exit\r')
    expect(await terminal.until(/ended/)).toMatch(/The whal.*\s+\S+/)
    expect(await terminal.ended).toBe(0)
    expect(terminal.shown).not.toContain('\u001b')
  })
  test('commands take no text that does nothing, and a blank in front makes a text of one', async () => {
    const terminal = chatTerminal(brief)
    await terminal.until(prompt)
    terminal.type('/clear it\r')
    await terminal.until(/\/clear takes no text/)
    terminal.type('/exit now\r')
    await terminal.until(/\/exit takes no text/)
    terminal.type(`${paste('/system\nBe brief.')}\r`)
    await terminal.until(/with this system message/)
    terminal.type(' /exit\r')
    await terminal.until(cost)
    terminal.type('/exit\r')
    expect(await terminal.ended).toBe(0)
  })
})
