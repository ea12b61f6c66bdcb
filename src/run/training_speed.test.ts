import { afterEach, expect, test, vi } from 'vitest'
import { TrainingSpeed } from './training_speed.ts'

afterEach(() => {
  vi.useRealTimers()
})

/** A step that takes some seconds. */
function take(speed: TrainingSpeed, seconds: number, units: number): void {
  speed.timed(() => vi.advanceTimersByTime(1000 * seconds))
  speed.add(units)
}

test('the speed is that of the steps, and a step of ten seconds ago counts 1/e', () => {
  vi.useFakeTimers({ toFake: ['performance'] })
  const speed = new TrainingSpeed()
  expect(speed.perSecond).toBe(0)
  take(speed, 2, 100)
  expect(speed.perSecond).toBeCloseTo(50, 9)
  // Steady work keeps its speed.
  for (let step = 0; step < 5; step++) take(speed, 2, 100)
  expect(speed.perSecond).toBeCloseTo(50, 9)
  const other = new TrainingSpeed()
  take(other, 10, 0)
  take(other, 10, 100)
  expect(other.perSecond).toBeCloseTo(100 / (10 / Math.E + 10), 9)
})
test('what a step gives back comes through, and its error too', () => {
  const speed = new TrainingSpeed()
  expect(speed.timed(() => 7)).toBe(7)
  expect(() =>
    speed.timed(() => {
      throw new Error('no')
    }),
  ).toThrow('no')
})
