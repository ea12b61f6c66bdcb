/** Figures of a load as rows of a table, and checks that hold or not. */

/** The value that this share of a sorted list does not exceed. */
const quantile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]

/** A row of milliseconds: median, 95th and 99th percentile, and the most. */
export function timesRow(name, values) {
  const sorted = Float64Array.from(values).sort()
  const shown = [0.5, 0.95, 0.99, 1].map((share) => quantile(sorted, share)?.toFixed(0) ?? '')
  return `| ${name} | ${sorted.length} | ${shown.join(' | ')} |`
}

/** Gathers what held and the first few that did not, by the name of the check. */
export class Checks {
  #found = new Map()

  note(name, held, fault = '') {
    const found = this.#found.get(name) ?? { held: 0, faults: [] }
    this.#found.set(name, found)
    if (held) found.held += 1
    else found.faults.push(fault)
  }

  get failed() {
    return [...this.#found.values()].filter(({ faults }) => faults.length > 0).length
  }

  get passed() {
    return this.#found.size - this.failed
  }

  lines() {
    return [...this.#found].flatMap(([name, { held, faults }]) => [
      `${faults.length === 0 ? 'ok    ' : 'FAILED'}  ${name}: ${held} of ${held + faults.length}`,
      ...faults.slice(0, 5).map((fault) => `        ${fault}`),
    ])
  }
}
