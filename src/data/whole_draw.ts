/**
 * A whole number from 0 to limit - 1 of a uniform draw from [0, 1). It uses one draw whatever the limit is, so that other
 * draws of the same call stay where they are; `RandomStream.integer` may take several.
 */
export const wholeBelow = (draw: number, limit: number): number => Math.floor(draw * limit)
