import { expect, test } from 'vitest'
import type { ProgressEvent } from './progress.ts'
import { Timeline } from './timeline.ts'

/** A recorder over a clock and a memory that the test sets. */
function recorder(most?: number) {
  const state = { now: 1000, resident: 5 }
  const timeline = new Timeline({
    now: () => state.now,
    resident: () => state.resident,
    ...(most === undefined ? {} : { most }),
  })
  return { state, timeline }
}
const progress = (phase: 'compress' | 'write', text: string): ProgressEvent => ({
  kind: 'progress',
  phase,
  share: 0,
  text,
})

test('a part begins where the one before it ends, in seconds from the start', () => {
  const { state, timeline } = recorder()
  timeline.begin('fetch')
  state.now = 3000
  timeline.begin('calibrate')
  state.now = 3500
  timeline.end()
  state.now = 9000
  timeline.end()
  expect(timeline.entries).toEqual([
    { phase: 'fetch', start: 0, seconds: 2 },
    { phase: 'calibrate', start: 2, seconds: 0.5 },
  ])
  expect(timeline.seconds).toBe(8)
})
test('events of progress begin a part for each stage that is compressed, and one for each other phase', () => {
  const { state, timeline } = recorder()
  const heard: ProgressEvent[] = []
  const { progress: tell } = timeline.listen({ progress: (event) => heard.push(event) })
  const events = [
    progress('compress', 'block.0'),
    progress('compress', 'block.0'),
    progress('compress', 'block.1'),
    progress('write', 'a.weight'),
    progress('write', 'b.weight'),
    { kind: 'note', text: 'a note' } as const,
  ]
  for (const event of events) {
    tell!(event)
    state.now += 1000
  }
  timeline.end()
  expect(timeline.entries).toEqual([
    { phase: 'compress', stage: 'block.0', start: 0, seconds: 2 },
    { phase: 'compress', stage: 'block.1', start: 2, seconds: 1 },
    { phase: 'write', start: 3, seconds: 3 },
  ])
  expect(heard).toEqual(events)
})
test('other hooks stay, and none is needed', () => {
  const { signal } = new AbortController()
  const { timeline } = recorder()
  expect(timeline.listen({ signal }).signal).toBe(signal)
  expect(() => timeline.listen({}).progress!(progress('write', 'a'))).not.toThrow()
})
test('memory is read at each event; of many samples few are kept, and the highest always', () => {
  const { state, timeline } = recorder(8)
  const { progress: tell } = timeline.listen({})
  for (let i = 0; i < 1000; i++) {
    state.now = 1000 + 1000 * i
    state.resident = i === 617 ? 99 : i % 7
    tell!(progress('write', 'a'))
  }
  const { memory } = timeline
  expect(memory.length).toBeGreaterThanOrEqual(4)
  expect(memory.length).toBeLessThanOrEqual(8)
  expect(memory).toContainEqual({ seconds: 617, bytes: 99 })
  const times = memory.map(({ seconds }) => seconds)
  expect(times).toEqual(times.toSorted((a, b) => a - b))
})
test('without options it reads the clock and the memory of this process', () => {
  const timeline = new Timeline()
  timeline.begin('write')
  timeline.end()
  expect(timeline.memory.at(-1)!.bytes).toBeGreaterThan(1e6)
  expect(timeline.entries[0]!.seconds).toBeGreaterThanOrEqual(0)
})
