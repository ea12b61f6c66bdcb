/**
 * The pass over a model's stages: carries chains of activations along, gathers statistics, lets a visitor change
 * weights, and frees what is done. Only one stage of weights is in memory at a time.
 *
 *   chain `dense`      every stage with the weights of the source
 *   chain `current`    every stage with what the visitor made of them
 *   target             what a stage should put out: of the dense chain, or of the dense stage on current inputs
 */

import { type ActivationOptions, ActivationSet } from '../models/activations.ts'
import { batchesOf, type EmbeddingModel, embedBatch, type SequenceBatch } from '../models/batches.ts'
import type { Stage, StageContext, StagePlan, StageState } from '../models/stage.ts'
import type { Linear } from '../nn/linear.ts'
import { AbortError, OptionError } from '../tensor/errors.ts'
import { scope, type Tensor } from '../tensor/index.ts'

export type ChainName = 'dense' | 'current'

/** A model as far as a walk sees it. */
export interface WalkModel extends EmbeddingModel {
  readonly stages: readonly StagePlan[]
  /** Side inputs of sequences of so many tokens, none of which is filled up. */
  context(tokens: number): StageContext
}

/** Outputs and inputs of one stage for methods that train it, some samples of equal length at a time. */
export interface StageSamples {
  /** Batches. */
  readonly count: number
  /** Input on the current chain, [samples, tokens, hidden]. The caller's scope owns it. */
  input(batch: number): Tensor
  /** What the stage should put out, where the walk was asked for targets. */
  target(batch: number): Tensor
  context(batch: number): StageContext
}

/** What happens on the way. All calls are in the order of the stages; tensors belong to the walk. */
export interface WalkVisitor {
  /** A stage was loaded. */
  beginStage?(plan: StagePlan, stage: Stage, pass: number): void
  /** The input x [samples, tokens, in] of some weights, of one batch. */
  observe?(linears: readonly Linear[], x: Tensor, pass: number): void
  /** All samples were observed: the sources of the linears may be exchanged. */
  compress?(linears: readonly Linear[], pass: number): void
  /** All groups of the stage are done, its outputs are not yet computed: it may be trained as a whole. */
  tune?(stage: Stage, samples: StageSamples, pass: number): void
  /** The stage is done; it is freed after this call. */
  endStage?(plan: StagePlan, stage: Stage, pass: number): void
}

/** The activations between two stages: `hidden` of every batch. */
export interface Chains {
  current: ActivationSet
  /** Where it is observed, or a target. */
  dense?: ActivationSet | undefined
}

export interface WalkOptions extends ActivationOptions {
  model: WalkModel
  /** Token ids of each sample. */
  samples: readonly Uint32Array[]
  /**
   * Tokens that run at once: neighbouring samples of equal length are stacked up to so many. More reads each weight
   * fewer times and takes memory for the activations inside a stage. @default 2048
   */
  batchTokens?: number
  visitor: WalkVisitor
  /** The chain whose inputs are observed. @default 'current' */
  observed?: ChainName
  /**
   * `ordered`: a group of weights is observed and compressed before its outputs feed the next group of the stage.
   * `stage`: all weights of a stage are observed before the first is compressed.
   * `unchanged`: all are observed while the stage runs, once; none is compressed. @default 'ordered'
   */
  groups?: 'ordered' | 'stage' | 'unchanged'
  /** Targets for `tune`. @default 'none' */
  target?: 'none' | 'dense' | 'denseOnCurrent'
  /** Walks over the whole model; the visitor carries what it needs from one to the next. @default 1 */
  passes?: number
  /** Begins the first pass at this stage, with the chains as `restore` fills them. */
  resume?: { stage: number; restore(chains: Chains): void } | undefined
  /** Called after each stage, with the chains as the stage `next` will find them; the walk waits for it. */
  between?: (next: number, chains: Chains, pass: number) => void | Promise<void>
  /** Called after each batch of each step of a stage. */
  progress?: (stage: number, share: number) => void
  signal?: AbortSignal | undefined
}

/** Walks over all stages. Signals are heard between stages; a flag of the native core stops long kernels. */
export async function walk(options: WalkOptions): Promise<void> {
  const { model, samples, passes = 1, observed = 'current', target = 'none' } = options
  if (samples.length === 0) throw new OptionError('calibration: at least one sample is needed, got none')
  const batches = batchesOf(samples, options.batchTokens)
  const needsDense = observed === 'dense' || target === 'dense'
  for (let pass = 0; pass < passes; pass++) {
    const current = new ActivationSet(options)
    const dense = needsDense ? new ActivationSet(options) : undefined
    try {
      const resume = pass === 0 ? options.resume : undefined
      if (resume) resume.restore({ current, dense })
      else embedAll(model, batches, { current, dense })
      for (const [index, plan] of model.stages.entries()) {
        if (index < (resume?.stage ?? 0)) continue
        await new Promise((resolve) => setImmediate(resolve))
        if (options.signal?.aborted) throw new AbortError()
        scope(() => new StageWalk(options, batches, plan, index, pass, current, dense).run())
        await options.between?.(index + 1, { current, dense }, pass)
      }
    } finally {
      current.close()
      dense?.close()
    }
  }
}

function embedAll(model: WalkModel, batches: readonly SequenceBatch[], { current, dense }: Chains): void {
  for (const [index, batch] of batches.entries()) {
    scope(() => {
      const hidden = embedBatch(model, batch)
      current.write(index, 'hidden', hidden)
      dense?.write(index, 'hidden', hidden)
    })
  }
}

/** The work on one stage. */
class StageWalk {
  private readonly options: WalkOptions
  private readonly batches: readonly SequenceBatch[]
  private readonly plan: StagePlan
  private readonly index: number
  private readonly pass: number
  private readonly current: ActivationSet
  private readonly dense: ActivationSet | undefined
  private readonly contexts = new Map<number, StageContext>()
  private done = 0

  constructor(
    options: WalkOptions,
    batches: readonly SequenceBatch[],
    plan: StagePlan,
    index: number,
    pass: number,
    current: ActivationSet,
    dense: ActivationSet | undefined,
  ) {
    this.options = options
    this.batches = batches
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
    if (groups === 'unchanged') this.forwardAll(stage, this.current, 'hidden', observed === 'current')
    else this.compress(stage)
    visitor.endStage?.(this.plan, stage, this.pass)
  }

  private compress(stage: Stage): void {
    const { visitor, observed = 'current', groups = 'ordered' } = this.options
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
  }

  /** Observes each group, lets it be compressed, and only then computes what the next group gets. */
  private runOrdered(stage: Stage): void {
    const { visitor } = this.options
    const first = stage.segments[0]!
    const tuned = visitor.tune !== undefined
    if (tuned)
      this.eachBatch((batch) => this.current.write(batch, 'input', this.current.read(batch, 'hidden')))
    this.eachBatch((batch, context) => {
      const state = this.load(batch)
      visitor.observe?.(first.linears, first.input(state, context), this.pass)
    })
    for (const [i, segment] of stage.segments.entries()) {
      visitor.compress?.(segment.linears, this.pass)
      const next = stage.segments[i + 1]
      this.eachBatch((batch, context) => {
        const state = this.load(batch)
        const after = segment.run(state, segment.input(state, context), context)
        this.store(batch, state, after)
        if (next) visitor.observe?.(next.linears, next.input(after, context), this.pass)
      })
    }
    if (!tuned) return
    this.tune(stage)
    this.eachBatch((batch) => {
      this.current.write(batch, 'hidden', this.current.read(batch, 'input'))
      this.current.remove(batch, 'input')
    })
    this.forwardAll(stage, this.current, 'hidden')
  }

  /** One forward with all weights as they are; the last group needs no output. */
  private observeAll(stage: Stage): void {
    this.eachBatch((batch, context) => {
      let state: StageState = { hidden: this.current.read(batch, 'hidden') }
      for (const [i, segment] of stage.segments.entries()) {
        const x = segment.input(state, context)
        this.options.visitor.observe?.(segment.linears, x, this.pass)
        if (i + 1 < stage.segments.length) state = segment.run(state, x, context)
      }
    })
  }

  private forwardAll(stage: Stage, set: ActivationSet, into: string, observe = false): void {
    this.eachBatch((batch, context) => {
      let state: StageState = { hidden: set.read(batch, 'hidden') }
      for (const segment of stage.segments) {
        const x = segment.input(state, context)
        if (observe) this.options.visitor.observe?.(segment.linears, x, this.pass)
        state = segment.run(state, x, context)
      }
      set.write(batch, into, state.hidden!)
    })
  }

  private tune(stage: Stage): void {
    const { visitor, target = 'none' } = this.options
    if (!visitor.tune) return
    const input = (batch: number) =>
      this.current.read(batch, this.current.has(batch, 'input') ? 'input' : 'hidden')
    visitor.tune(
      stage,
      {
        count: this.batches.length,
        input,
        target: (batch) => {
          if (target === 'none') throw new OptionError('walk: targets were not asked for; set `target`')
          return target === 'dense' ? this.dense!.read(batch, 'hidden') : this.current.read(batch, 'target')
        },
        context: (batch) => this.contextOf(batch),
      },
      this.pass,
    )
  }

  /** The state of a batch as it was stored. */
  private load(batch: number): StageState {
    const names = this.current.names(batch).filter((name) => name !== 'input' && name !== 'target')
    return Object.fromEntries(names.map((name) => [name, this.current.read(batch, name)]))
  }

  /** Stores what changed and forgets what is gone. */
  private store(batch: number, before: StageState, after: StageState): void {
    for (const name of Object.keys(before)) if (!(name in after)) this.current.remove(batch, name)
    for (const [name, x] of Object.entries(after)) if (before[name] !== x) this.current.write(batch, name, x)
  }

  private contextOf(batch: number): StageContext {
    const { tokens } = this.batches[batch]!
    let context = this.contexts.get(tokens)
    if (!context) {
      context = this.options.model.context(tokens)
      this.contexts.set(tokens, context)
    }
    return context
  }

  private eachBatch(body: (batch: number, context: StageContext) => void): void {
    const { samples, progress, signal } = this.options
    for (const [index, batch] of this.batches.entries()) {
      if (signal?.aborted) throw new AbortError()
      const context = this.contextOf(index)
      scope(() => body(index, context))
      this.done += batch.count
      progress?.(this.index, this.done / samples.length)
    }
  }
}
