/** The optimiser of a training recipe. */
import { adam, adamW } from '../../optim/adam.ts'
import type { OptimiserFor } from '../../optim/optimiser.ts'
import { constant, cosine, linear, milestones, type Schedule, scaled, warmUp } from '../../optim/schedules.ts'
import { sgd } from '../../optim/sgd.ts'
import type { ScheduleRecipe } from './optimiser_fields.ts'
import type { TrainingSettings } from './read_training.ts'

/** @param steps of the whole training, over which the rate falls */
export function optimiserFor(recipe: TrainingSettings['train']['optimiser'], steps: number): OptimiserFor {
  const { name, rate, schedule, groups: asked = [], betas, ...settings } = recipe
  const over = scheduleOf(schedule, rate, steps)
  const groups = asked.map(({ match, decay, scale }) => ({
    match,
    ...(decay === undefined ? {} : { decay }),
    ...(scale === undefined ? {} : { rate: scaled(over, scale) }),
  }))
  const shared = { ...settings, rate: over, groups }
  if (name === 'sgd') return sgd(shared)
  const [first, second] = betas ?? []
  const make = name === 'adam' ? adam : adamW
  return make({ ...shared, ...(betas && { betas: [first!, second!] as const }) })
}

/** From `rate` on, over the steps that the warm-up leaves. */
function scheduleOf(schedule: ScheduleRecipe, rate: number, steps: number): Schedule {
  const first = schedule.warmUp ?? 0
  const rest = Math.max(1, steps - first)
  const main = (): Schedule => {
    switch (schedule.name) {
      case 'constant':
        return constant(rate)
      case 'cosine':
        return cosine({ from: rate, to: schedule.to ?? 0, steps: rest })
      case 'linear':
        return linear({ from: rate, to: schedule.to ?? 0, steps: rest })
      case 'step': {
        const { gamma, milestones: at } = schedule
        return milestones({
          from: rate,
          milestones: at.map((step) => step - first),
          ...(gamma !== undefined && { gamma }),
        })
      }
    }
  }
  return warmUp({ steps: first, from: rate / Math.max(1, first) }, main())
}
