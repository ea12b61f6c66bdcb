/**
 * The pass over a model's stages: carries chains of activations along, gathers statistics, lets a visitor change
 * weights, and frees what is done. Only one stage of weights is in memory at a time.
 *
 *   chain `dense`      every stage with the weights of the source
 *   chain `current`    every stage with what the visitor made of them
 *   target             what a stage should put out: of the dense chain, or of the dense stage on current inputs
 */

import { type ActivationOptions, ActivationSet } from '../models/activations.ts'
import type { Stage, StageContext, StagePlan, StageState } from '../models/stage.ts'
import type { Linear } from '../nn/linear.ts'
import { AbortError, OptionError } from '../tensor/errors.ts'
import { scope, type Tensor } from '../tensor/index.ts'

export type ChainName = 'dense' | 'current'

/** A model as far as a walk sees it. */
export interface WalkModel {
  readonly stages: readonly StagePlan[]
  embed(ids: Uint32Array): Tensor
  context(tokens: number): StageContext
}

/** Outputs and inputs of one stage by sample, for methods that train it. */
export interface StageSamples {
  readonly count: number
  /** Input on the current chain, [tokens, hidden]. The caller's scope owns it. */
  input(sample: number): Tensor
  /** What the stage should put out, where the walk was asked for targets. */
  target(sample: number): Tensor
  context(sample: number): StageContext
}

/** What happens on the way. All calls are in the order of the stages; tensors belong to the walk. */
export interface WalkVisitor {
  /** A stage was loaded. */
  beginStage?(plan: StagePlan, stage: Stage, pass: number): void
  /** The input x [.., tokens, in] of some weights, of one sample. */
  observe?(linears: readonly Linear[], x: Tensor, pass: number): void
  /** All samples were observed: the sources of the linears may be exchanged. */
  compress?(linears: readonly Linear[], pass: number): void
  /** All groups of the stage are done, its outputs are not yet computed: it may be trained as a whole. */
  tune?(stage: Stage, samples: StageSamples, pass: number): void
  /** The stage is done; it is freed after this call. */
  endStage?(plan: StagePlan, stage: Stage, pass: number): void
}

export interface WalkOptions extends ActivationOptions {
  model: WalkModel
  /** Token ids of each sample. */
  samples: readonly Uint32Array[]
  visitor: WalkVisitor
  /** The chain whose inputs are observed. @default 'current' */
  observed?: ChainName
  /**
   * `ordered`: a group of weights is observed and compressed before its outputs feed the next group of the stage.
   * `stage`: all weights of a stage are observed before the first is compressed. @default 'ordered'
   */
  groups?: 'ordered' | 'stage'
  /** Targets for `tune`. @default 'none' */
  target?: 'none' | 'dense' | 'denseOnCurrent'
  /** Walks over the whole model; the visitor carries what it needs from one to the next. @default 1 */
  passes?: number
  /** Called after each sample of each step of a stage. */
  progress?: (stage: number, share: number) => void
  signal?: AbortSignal | undefined
}

/** Walks over all stages. Signals are heard between stages; a flag of the native core stops long kernels. */
export async function walk(options: WalkOptions): Promise<void> {
  const { model, samples, passes = 1, observed = 'current', target = 'none' } = options
  if (samples.length === 0) throw new OptionError('calibration: at least one sample is needed, got none')
  const needsDense = observed === 'dense' || target === 'dense'
  for (let pass = 0; pass < passes; pass++) {
    const current = new ActivationSet(options)
    const dense = needsDense ? new ActivationSet(options) : undefined
    try {
      for (const [sample, ids] of samples.entries()) {
        scope(() => {
          const hidden = model.embed(ids)
          current.write(sample, 'hidden', hidden)
          dense?.write(sample, 'hidden', hidden)
        })
      }
      for (const [index, plan] of model.stages.entries()) {
        await new Promise((resolve) => setImmediate(resolve))
        if (options.signal?.aborted) throw new AbortError()
        scope(() => new StageWalk(options, plan, index, pass, current, dense).run())
      }
    } finally {
      current.close()
      dense?.close()
    }
  }
}

/** The work on one stage. */
class StageWalk {
  private readonly options: WalkOptions
  private readonly plan: StagePlan
  private readonly index: number
  private readonly pass: number
  private readonly current: ActivationSet
  private readonly dense: ActivationSet | undefined
  private readonly contexts = new Map<number, StageContext>()
  private done = 0

  constructor(
    options: WalkOptions,
    plan: StagePlan,
    index: number,
    pass: number,
    current: ActivationSet,
    dense: ActivationSet | undefined,
  ) {
    this.options = options
    this.plan = plan
    this.index = index
    this.pass = pass
    this.current = current
    this.dense = dense
  }

  run(): void {
    const { visitor, observed = 'current', groups = 'ordered', target = 'none' } = this.options
    const stage = this.plan.load()
    visitor.beginStage?.(this.plan, stage, this.pass)
    if (target === 'denseOnCurrent') this.forwardAll(stage, this.current, 'target')
    if (this.dense) this.forwardAll(stage, this.dense, 'hidden', observed === 'dense')
    if (observed === 'dense') {
      for (const { linears } of stage.segments) visitor.compress?.(linears, this.pass)
    } else if (groups === 'stage') {
      this.observeAll(stage)
      for (const { linears } of stage.segments) visitor.compress?.(linears, this.pass)
    }
    if (observed === 'dense' || groups === 'stage') {
      this.tune(stage)
      this.forwardAll(stage, this.current, 'hidden')
    } else {
      this.runOrdered(stage)
    }
    visitor.endStage?.(this.plan, stage, this.pass)
  }

  /** Observes each group, lets it be compressed, and only then computes what the next group gets. */
  private runOrdered(stage: Stage): void {
    const { visitor } = this.options
    const first = stage.segments[0]!
    const tuned = visitor.tune !== undefined
    if (tuned)
      this.eachSample((sample) => this.current.write(sample, 'input', this.current.read(sample, 'hidden')))
    this.eachSample((sample, context) => {
      const state = this.load(sample)
      visitor.observe?.(first.linears, first.input(state, context), this.pass)
    })
    for (const [i, segment] of stage.segments.entries()) {
      visitor.compress?.(segment.linears, this.pass)
      const next = stage.segments[i + 1]
      this.eachSample((sample, context) => {
        const state = this.load(sample)
        const after = segment.run(state, segment.input(state, context), context)
        this.store(sample, state, after)
        if (next) visitor.observe?.(next.linears, next.input(after, context), this.pass)
      })
    }
    if (!tuned) return
    this.tune(stage)
    this.eachSample((sample) => {
      this.current.write(sample, 'hidden', this.current.read(sample, 'input'))
      this.current.remove(sample, 'input')
    })
    this.forwardAll(stage, this.current, 'hidden')
  }

  /** One forward with all weights as they are; the last group needs no output. */
  private observeAll(stage: Stage): void {
    this.eachSample((sample, context) => {
      let state: StageState = { hidden: this.current.read(sample, 'hidden') }
      for (const [i, segment] of stage.segments.entries()) {
        const x = segment.input(state, context)
        this.options.visitor.observe?.(segment.linears, x, this.pass)
        if (i + 1 < stage.segments.length) state = segment.run(state, x, context)
      }
    })
  }

  private forwardAll(stage: Stage, set: ActivationSet, into: string, observe = false): void {
    this.eachSample((sample, context) => {
      let state: StageState = { hidden: set.read(sample, 'hidden') }
      for (const segment of stage.segments) {
        const x = segment.input(state, context)
        if (observe) this.options.visitor.observe?.(segment.linears, x, this.pass)
        state = segment.run(state, x, context)
      }
      set.write(sample, into, state.hidden!)
    })
  }

  private tune(stage: Stage): void {
    const { visitor, samples, target = 'none' } = this.options
    if (!visitor.tune) return
    const input = (sample: number) =>
      this.current.read(sample, this.current.has(sample, 'input') ? 'input' : 'hidden')
    visitor.tune(
      stage,
      {
        count: samples.length,
        input,
        target: (sample) => {
          if (target === 'none') throw new OptionError('walk: targets were not asked for; set `target`')
          return target === 'dense' ? this.dense!.read(sample, 'hidden') : this.current.read(sample, 'target')
        },
        context: (sample) => this.contextOf(sample),
      },
      this.pass,
    )
  }

  /** The state of a sample as it was stored. */
  private load(sample: number): StageState {
    const names = this.current.names(sample).filter((name) => name !== 'input' && name !== 'target')
    return Object.fromEntries(names.map((name) => [name, this.current.read(sample, name)]))
  }

  /** Stores what changed and forgets what is gone. */
  private store(sample: number, before: StageState, after: StageState): void {
    for (const name of Object.keys(before)) if (!(name in after)) this.current.remove(sample, name)
    for (const [name, x] of Object.entries(after)) if (before[name] !== x) this.current.write(sample, name, x)
  }

  private contextOf(sample: number): StageContext {
    const tokens = this.options.samples[sample]!.length
    let context = this.contexts.get(tokens)
    if (!context) {
      context = this.options.model.context(tokens)
      this.contexts.set(tokens, context)
    }
    return context
  }

  private eachSample(body: (sample: number, context: StageContext) => void): void {
    const { samples, progress, signal } = this.options
    for (let sample = 0; sample < samples.length; sample++) {
      if (signal?.aborted) throw new AbortError()
      const context = this.contextOf(sample)
      scope(() => body(sample, context))
      this.done += 1
      progress?.(this.index, this.done / samples.length)
    }
  }
}
