import { expect, test } from 'vitest'
import { Counter, Histogram, Metrics } from './metrics.ts'

test('a counter has a line for each set of labels, with the sum of what was added', () => {
  const counter = new Counter()
  counter.add(1, { endpoint: '/health', status: '200' })
  counter.add(2, { endpoint: '/health', status: '200' })
  counter.add(1, { endpoint: '/health', status: '403' })
  expect(counter.lines('requests')).toEqual([
    'requests{endpoint="/health",status="200"} 3',
    'requests{endpoint="/health",status="403"} 1',
  ])
})

test('a histogram counts in each bound what is at most as large, and everything in the last one', () => {
  const histogram = new Histogram()
  for (const seconds of [0.005, 0.3, 1000]) histogram.observe(seconds, { endpoint: '/health' })
  const lines = histogram.lines('seconds')
  expect(lines).toContain('seconds_bucket{endpoint="/health",le="0.005"} 1')
  expect(lines).toContain('seconds_bucket{endpoint="/health",le="0.25"} 1')
  expect(lines).toContain('seconds_bucket{endpoint="/health",le="0.5"} 2')
  expect(lines).toContain('seconds_bucket{endpoint="/health",le="100"} 2')
  expect(lines.slice(-3)).toEqual([
    'seconds_bucket{endpoint="/health",le="+Inf"} 3',
    'seconds_sum{endpoint="/health"} 1000.305',
    'seconds_count{endpoint="/health"} 3',
  ])
})

test('the page has help and type before the lines of each figure, and tokens from the first one on', () => {
  const metrics = new Metrics()
  metrics.generatedTokens.add(7)
  const lines = metrics.text({ running: 2, waiting: 1 }).split('\n')
  expect(lines.at(-1)).toBe('')
  const at = lines.indexOf('# TYPE pare_generated_tokens_total counter')
  expect(lines[at - 1]).toMatch(/^# HELP pare_generated_tokens_total /)
  expect(lines[at + 1]).toBe('pare_generated_tokens_total 7')
  expect(lines).toContain('pare_prompt_tokens_total 0')
  expect(lines).toContain('pare_texts_running 2')
  expect(lines).toContain('pare_texts_waiting 1')
  for (const line of lines.slice(0, -1))
    expect(line).toMatch(/^(# (HELP|TYPE) pare_\w+ .+|pare_\w+(\{[^}]*\})? [\d.e+-]+)$/)
})
