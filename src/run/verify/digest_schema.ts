/** The digest of a layer as journals and reports have it. */
import { z } from 'zod'

export const digestSchema = z.strictObject({
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  sketch: z
    .strictObject({ squares: z.number().nonnegative(), products: z.array(z.number()).length(16).readonly() })
    .optional(),
})
