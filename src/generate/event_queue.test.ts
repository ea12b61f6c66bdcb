import { expect, test } from 'vitest'
import { EventQueue } from './event_queue.ts'

function queueOf() {
  const calls: string[] = []
  const queue = new EventQueue<number>({
    started: () => void calls.push('started'),
    taken: () => void calls.push('taken'),
    ended: () => void calls.push('ended'),
  })
  return { queue, calls }
}
const end = { value: undefined, done: true }

test('events arrive in order, whether they wait for the reader or the reader for them', async () => {
  const { queue, calls } = queueOf()
  const [first, second] = [queue.next(), queue.next()]
  for (const event of [1, 2, 3]) queue.push(event)
  queue.end()
  queue.push(4)
  expect(await Promise.all([first, second, queue.next(), queue.next(), queue.next()])).toEqual([
    { value: 1, done: false },
    { value: 2, done: false },
    { value: 3, done: false },
    end,
    end,
  ])
  expect(calls).toEqual(['started', 'ended', 'taken'])
})
test('an error follows what is in the queue and comes once; an abort takes its place', async () => {
  const { queue } = queueOf()
  const first = queue.next()
  for (const event of [1, 2]) queue.push(event)
  queue.end({ error: new Error('late') })
  queue.abort(new Error('too late'))
  expect([await first, await queue.next()].map(({ value }) => value)).toEqual([1, 2])
  await expect(queue.next()).rejects.toThrow(/^late$/)
  expect(await queue.next()).toEqual(end)

  const { queue: other } = queueOf()
  other.push(1)
  other.abort(new Error('at once'))
  await expect(other.next()).rejects.toThrow('at once')
  expect(await other.next()).toEqual(end)
})
test('leaving drops what is left, ends a read that waits, and is told', async () => {
  const { queue, calls } = queueOf()
  const waiting = queue.next()
  await queue.return()
  queue.push(1)
  expect([await waiting, await queue.next()]).toEqual([end, end])
  expect(calls).toEqual(['started', 'ended'])
})
test('leaving before the first event starts nothing', async () => {
  const { queue, calls } = queueOf()
  await queue.return()
  expect([await queue.next(), calls]).toEqual([end, []])
})
test('what starting throws is what the reader gets', async () => {
  const queue = new EventQueue<number>({
    started: () => {
      throw new Error('refused')
    },
    taken() {},
    ended() {},
  })
  await expect(queue.next()).rejects.toThrow('refused')
  expect(await queue.next()).toEqual(end)
})
test('it is full while a reader is far behind', async () => {
  const { queue } = queueOf()
  for (let i = 0; i < 16; i++) {
    expect(queue.full).toBe(false)
    queue.push(i)
  }
  expect(queue.full).toBe(true)
  await queue.next()
  expect(queue.full).toBe(false)
})
