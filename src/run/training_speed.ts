/** How fast a training goes. */

/** Seconds after which a step counts 1/e. */
const SPAN = 10

/** Units of work a second, as a mean in which a step counts less the longer ago it was. */
export class TrainingSpeed {
  private units = 0
  private seconds = 0
  private took = 0

  /** Runs one step and takes its time. */
  timed<T>(step: () => T): T {
    const started = performance.now()
    const result = step()
    this.took = (performance.now() - started) / 1000
    return result
  }

  /** Work of the step that was timed last. */
  add(units: number): void {
    const kept = Math.exp(-this.took / SPAN)
    this.units = this.units * kept + units
    this.seconds = this.seconds * kept + this.took
  }

  get perSecond(): number {
    return this.units / Math.max(1e-6, this.seconds)
  }
}
