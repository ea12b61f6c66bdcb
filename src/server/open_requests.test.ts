import { expect, test } from 'vitest'
import { OpenRequests } from './open_requests.ts'

test('a drain longer than timers can be waits all the same', async () => {
  const requests = new OpenRequests()
  const { signal, done } = requests.enter(new AbortController().signal)
  const stopped = requests.stop(Number.MAX_SAFE_INTEGER)
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(signal.aborted).toBe(false)
  done()
  await stopped
})
