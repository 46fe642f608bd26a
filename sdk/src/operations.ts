import type { paths } from './generated/openapi.js'

export type Method = 'get' | 'put' | 'post' | 'patch' | 'delete'

/** The paths of openapi.json that are served with this method. */
export type PathOf<M extends Method> = {
  [P in keyof paths]: paths[P] extends Record<M, object> ? P : never
}[keyof paths]

type Operation<M extends Method, P extends keyof paths> = paths[P] extends Record<M, infer O> ? O : never

/** The JSON body that an operation takes. */
export type BodyOf<M extends Method, P extends keyof paths> =
  Operation<M, P> extends { requestBody: { content: { 'application/json': infer B } } } ? B : undefined

type QueryIn<O> = O extends { parameters: { query?: infer Q } } ? NonNullable<Q> : never
/** The query that an operation takes. */
export type QueryOf<M extends Method, P extends keyof paths> = [QueryIn<Operation<M, P>>] extends [never]
  ? Record<never, never>
  : QueryIn<Operation<M, P>>

type ParamsIn<O> = O extends { parameters: { path: infer T } } ? T : undefined
/** The variables in an operation's path. */
export type ParamsOf<M extends Method, P extends keyof paths> = ParamsIn<Operation<M, P>>

type Success<R> =
  R extends Record<200, infer A>
    ? A
    : R extends Record<201, infer A>
      ? A
      : R extends Record<202, infer A>
        ? A
        : undefined
type Json<A> = A extends { content: { 'application/json': infer J } } ? J : undefined
/** The JSON that an operation answers with; undefined for none. */
export type AnswerOf<M extends Method, P extends keyof paths> =
  Operation<M, P> extends { responses: infer R } ? Json<Success<R>> : never

/** One element of a list, whether it is answered as an array or in `items`. */
export type ItemOf<A> = A extends readonly (infer T)[]
  ? T
  : A extends { items: readonly (infer T)[] }
    ? T
    : never
