/**
 * Figures of a running server in Prometheus' text form,
 * https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format.
 */

type Labels = Readonly<Record<string, string>>

/** A sum that only grows, for each set of labels. */
export class Counter {
  readonly #sums = new Map<string, number>()

  add(value: number, labels: Labels = {}): void {
    const key = labelText(labels)
    this.#sums.set(key, (this.#sums.get(key) ?? 0) + value)
  }

  lines(name: string): string[] {
    return [...this.#sums].map(([labels, sum]) => `${name}${labels} ${sum}`)
  }
}

/** Seconds; a request takes milliseconds or minutes. */
const bounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100]

/** How many values were at most as large as each bound, for each set of labels. */
export class Histogram {
  readonly #series = new Map<string, { labels: Labels; counts: number[]; sum: number; count: number }>()

  observe(value: number, labels: Labels = {}): void {
    const key = labelText(labels)
    const series = this.#series.get(key) ?? { labels, counts: bounds.map(() => 0), sum: 0, count: 0 }
    this.#series.set(key, series)
    for (const [i, bound] of bounds.entries()) if (value <= bound) series.counts[i]! += 1
    series.sum += value
    series.count += 1
  }

  lines(name: string): string[] {
    return [...this.#series.values()].flatMap(({ labels, counts, sum, count }) => [
      ...bounds.map((le, i) => `${name}_bucket${labelText({ ...labels, le: String(le) })} ${counts[i]}`),
      `${name}_bucket${labelText({ ...labels, le: '+Inf' })} ${count}`,
      `${name}_sum${labelText(labels)} ${sum}`,
      `${name}_count${labelText(labels)} ${count}`,
    ])
  }
}

/** `{endpoint="/v1/models"}`; values are those of fixed lists, so that none has to be escaped. */
const labelText = (labels: Labels): string => {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${value}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

export class Metrics {
  readonly requests = new Counter()
  readonly requestSeconds = new Histogram()
  readonly firstTokenSeconds = new Histogram()
  readonly promptTokens = new Counter()
  readonly generatedTokens = new Counter()

  constructor() {
    this.promptTokens.add(0)
    this.generatedTokens.add(0)
  }

  /** The page of all figures. `running` and `waiting` are texts at this moment. */
  text({ running, waiting }: { running: number; waiting: number }): string {
    const gauge = (value: number) => ({ lines: (name: string) => [`${name} ${value}`] })
    const figures: [name: string, type: string, help: string, values: { lines(name: string): string[] }][] = [
      [
        'pare_requests_total',
        'counter',
        'Requests that were answered, by endpoint and status; 499 where the client left before.',
        this.requests,
      ],
      [
        'pare_request_seconds',
        'histogram',
        'From the request to the end of its answer.',
        this.requestSeconds,
      ],
      [
        'pare_first_token_seconds',
        'histogram',
        'From the start of a text to its first token, waiting included.',
        this.firstTokenSeconds,
      ],
      ['pare_prompt_tokens_total', 'counter', 'Tokens of prompts that were read.', this.promptTokens],
      ['pare_generated_tokens_total', 'counter', 'Tokens that were written.', this.generatedTokens],
      [
        'pare_texts_running',
        'gauge',
        'Texts that are read or written now, or wait for their readers.',
        gauge(running),
      ],
      ['pare_texts_waiting', 'gauge', 'Texts that wait for a place.', gauge(waiting)],
    ]
    const lines = figures.flatMap(([name, type, help, values]) => [
      `# HELP ${name} ${help}`,
      `# TYPE ${name} ${type}`,
      ...values.lines(name),
    ])
    return `${lines.join('\n')}\n`
  }
}
