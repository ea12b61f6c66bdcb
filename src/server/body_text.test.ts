import { describe, expect, test } from 'vitest'
import { BodyBytes } from './body_text.ts'

/** A body that comes in the parts that it is given. */
function sent() {
  let controller!: ReadableStreamDefaultController<Uint8Array>
  const body = new ReadableStream<Uint8Array>({
    start(given) {
      controller = given
    },
  })
  const request = new Request('http://localhost/', { method: 'POST', body, duplex: 'half' } as RequestInit)
  return { request, send: (bytes: number) => controller.enqueue(new Uint8Array(bytes).fill(97)), controller }
}
const turn = () => new Promise((resolve) => setTimeout(resolve, 1))

describe('bodies that are read at the same time', () => {
  test('hold their bytes beyond the first 65536 until they are read or fail', async () => {
    const bodies = new BodyBytes(1_000_000)
    const [one, other] = [sent(), sent()]
    const reading = [bodies.read(one.request), bodies.read(other.request)]
    one.send(65_536)
    other.send(65_537)
    await turn()
    expect(bodies.held).toBe(1)
    one.send(10)
    await turn()
    expect(bodies.held).toBe(11)
    one.controller.close()
    expect(await reading[0]).toBe('a'.repeat(65_546))
    expect(bodies.held).toBe(1)
    other.controller.error(new Error('the client is gone'))
    await expect(reading[1]).rejects.toMatchObject({ status: 400, code: 'incomplete_body' })
    expect(bodies.held).toBe(0)
  })
  test('are as many as sixteen of the largest; one more is refused with 429, small ones are read still', async () => {
    const bodies = new BodyBytes(100_000)
    const large = Array.from({ length: 47 }, sent)
    const reading = large.map(({ request }) => bodies.read(request))
    // 34464 count of each: 46 of them are below 1600000, and the next is above.
    for (const { send } of large) send(100_000)
    large[46]!.controller.close()
    await expect(reading[46]).rejects.toMatchObject({ status: 429, code: 'bodies_full', retryAfter: 1 })
    expect(bodies.held).toBe(46 * 34_464)
    const small = sent()
    small.send(65_536)
    small.controller.close()
    expect(await bodies.read(small.request)).toHaveLength(65_536)
    for (const { controller } of large.slice(0, 46)) controller.close()
    expect(await Promise.all(reading.slice(0, 46))).toHaveLength(46)
    expect(bodies.held).toBe(0)
  })
})
test('a body of another encoding is refused with 400', async () => {
  const request = new Request('http://localhost/', { method: 'POST', body: Uint8Array.of(0xff) })
  await expect(new BodyBytes(10).read(request)).rejects.toMatchObject({ status: 400, code: 'invalid_json' })
})
describe('a body that is too long', () => {
  test('is taken to its end before it is refused, so that its client sees the answer', async () => {
    for (const told of [true, false]) {
      const { request, send, controller } = sent()
      if (told) request.headers.set('content-length', '200')
      const bodies = new BodyBytes(100)
      let refused = false
      const reading = bodies.read(request).catch((error) => {
        refused = true
        throw error
      })
      const refusal = expect(reading).rejects.toMatchObject({ status: 413 })
      for (let i = 0; i < 2; i++) send(100)
      await turn()
      expect([refused, bodies.held]).toEqual([false, 0])
      controller.close()
      await refusal
    }
  })
  test('is not waited for beyond four times the most', async () => {
    const { request, send } = sent()
    for (let i = 0; i < 5; i++) send(100)
    await expect(new BodyBytes(100).read(request)).rejects.toMatchObject({ status: 413 })
  })
})
