import { describe, expect, test, vi } from 'vitest'
import { eventStream } from './event_stream.ts'

/** Other work may keep this process from running. */
const patient = { timeout: 20_000 }

async function* delayed(milliseconds: number, ...objects: object[]) {
  await new Promise((resolve) => setTimeout(resolve, milliseconds))
  yield* objects
}
const hooks = () => ({ stop: vi.fn(), done: vi.fn(), failed: vi.fn() })

describe('a stream of events', () => {
  test('is one data line an object, whatever the object holds, and ends with [DONE]', async () => {
    const told = hooks()
    const response = await eventStream(delayed(0, { a: 'line\nline\r\u2028' }, { b: [] }), told)
    expect(await response.text()).toBe(
      'data: {"a":"line\\nline\\r\u2028"}\n\ndata: {"b":[]}\n\ndata: [DONE]\n\n',
    )
    expect(told.done).toHaveBeenCalledOnce()
    expect([told.stop.mock.calls, told.failed.mock.calls]).toEqual([[], []])
  })
  test('says something in silence, so that nobody closes the connection', async () => {
    let go = () => {}
    const wait = new Promise<void>((resolve) => {
      go = resolve
    })
    const late = (async function* () {
      await wait
      yield { a: 1 }
    })()
    const response = await eventStream(late, { ...hooks(), headWait: 1, keepAlive: 5 })
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
    for (let i = 0; i < 3; i++) expect((await reader.read()).value).toBe(': keep-alive\n\n')
    go()
    let rest = ''
    for (let next = await reader.read(); !next.done; next = await reader.read()) rest += next.value
    expect(rest.replaceAll(': keep-alive\n\n', '')).toBe('data: {"a":1}\n\ndata: [DONE]\n\n')
  })
  test('throws what fails before its first object, so that the answer has a status of its own', async () => {
    const failing = { next: () => Promise.reject(new Error('at the door')) }
    await expect(eventStream(failing, hooks())).rejects.toThrow('at the door')
  })
  test('asks for one object more than its reader has taken, and no further', async () => {
    let made = 0
    const many = (async function* () {
      for (; made < 1000; made++) yield { made }
    })()
    const response = await eventStream(many, hooks())
    const reader = response.body!.getReader()
    await reader.read()
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(made).toBeLessThan(5)
    await reader.cancel()
  })
  test('gives up a reader that takes nothing for too long', async () => {
    const told = hooks()
    const response = await eventStream(delayed(0, ...Array(50).fill({})), { ...told, stalled: 30 })
    const reader = response.body!.getReader()
    await reader.read()
    await vi.waitFor(() => expect(told.stop).toHaveBeenCalledOnce(), patient)
    expect(told.done).toHaveBeenCalledOnce()
    await expect(
      (async () => {
        while (!(await reader.read()).done);
      })(),
    ).rejects.toThrow('takes nothing')
  })
  test('tells that its reader is gone', async () => {
    const told = hooks()
    const response = await eventStream(delayed(0, {}, {}), told)
    await response.body!.cancel()
    expect(told.stop).toHaveBeenCalledOnce()
    expect(told.done).toHaveBeenCalledOnce()
  })
})
