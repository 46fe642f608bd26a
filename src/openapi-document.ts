import type { INestApplication } from '@nestjs/common'
import { DocumentBuilder, SwaggerModule, type OpenAPIObject } from '@nestjs/swagger'
import { PROBLEMS } from './core/problems.js'
import { VERSION } from './platform/http/version.js'

type Operation = NonNullable<OpenAPIObject['paths'][string]['get']>
type Parameter = NonNullable<Operation['parameters']>[number]

const METHODS = ['get', 'put', 'post', 'patch', 'delete'] as const
const PROBLEM_REF = { $ref: '#/components/schemas/Problem' }

/** The OpenAPI document of the running or previewed application: what `openapi.json` holds and `/docs` shows. */
export function buildDocument(app: INestApplication): OpenAPIObject {
  const config = new DocumentBuilder()
    .setTitle('AgentGuard')
    .setDescription(
      'The control plane AI agents ask before they act. Every path is served without `/v1` as well. ' +
        'Errors are problem documents (RFC 9457); switch on `code`.',
    )
    .setVersion(VERSION)
    .setLicense('MIT', '')
    .addApiKey(
      { type: 'apiKey', in: 'header', name: 'X-Admin-Key', description: 'Root key or `adk_…`.' },
      'admin_key',
    )
    .addApiKey({ type: 'apiKey', in: 'header', name: 'X-Agent-Key', description: '`agk_…`.' }, 'agent_key')
    .addCookieAuth(
      '__Host-agentguard_session',
      {
        type: 'apiKey',
        in: 'cookie',
        description:
          'A person, signed in with `POST /auth/login`. What changes something also needs the header ' +
          '`X-AgentGuard-CSRF: 1` and an `Origin` that is this service’s or in `CORS_ORIGINS`.',
      },
      'session',
    )
    .addBearerAuth(
      {
        type: 'http',
        scheme: 'bearer',
        bearerFormat: 'JWT',
        description:
          'A token made from a key with `POST /token`. It may do what its key may, while the key may.',
      },
      'bearer',
    )
    .addBearerAuth({ type: 'http', scheme: 'bearer', description: '`METRICS_TOKEN`.' }, 'metrics_token')
    .build()
  const document = SwaggerModule.createDocument(app, config, {
    operationIdFactory: (controller, method) => `${controller.replace(/Controller$/, '')}_${method}`,
  })
  document.components ??= {}
  document.components.schemas = { ...document.components.schemas, Problem: PROBLEM_SCHEMA }
  for (const path of Object.values(document.paths)) {
    for (const method of METHODS) {
      const operation = path[method]
      if (operation) complete(operation, method)
    }
  }
  return document
}

/** What every operation has and no controller should have to repeat. */
function complete(operation: Operation, method: (typeof METHODS)[number]): void {
  const schemes = (operation.security ?? []).flatMap((requirement) => Object.keys(requirement))
  // Class and method decorators may both name a scheme; alternatives stand once.
  if (operation.security) operation.security = [...new Set(schemes)].map((scheme) => ({ [scheme]: [] }))
  const admin = schemes.includes('admin_key')
  const onlyAdmin = admin && !schemes.includes('agent_key') && !schemes.includes('metrics_token')
  operation.parameters = [
    ...(operation.parameters ?? []),
    ...(admin ? [ORGANIZATION_HEADER] : []),
    ...(onlyAdmin && method !== 'get' ? [IDEMPOTENCY_HEADER] : []),
  ]
  operation.responses.default ??= {
    description: 'Any other outcome, as a problem document.',
    content: { 'application/problem+json': { schema: PROBLEM_REF } },
  }
}

const ORGANIZATION_HEADER: Parameter = {
  name: 'X-Org-ID',
  in: 'header',
  required: false,
  description: 'With the root key: the organization to work in. Default: the default organization.',
  schema: { type: 'string' },
}

const IDEMPOTENCY_HEADER: Parameter = {
  name: 'Idempotency-Key',
  in: 'header',
  required: false,
  description:
    'Repeating a request with the same key within 24 hours gives the first answer again, with secrets as null and ' +
    'the header `Idempotent-Replayed: true`. Another request under the same key is a 409.',
  schema: { type: 'string', minLength: 1, maxLength: 255 },
}

const PROBLEM_SCHEMA = {
  type: 'object',
  description: 'RFC 9457 problem document.',
  required: ['type', 'title', 'status', 'detail', 'code', 'request_id'],
  properties: {
    type: { type: 'string', format: 'uri' },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string', description: 'What happened and what to do next.' },
    code: { type: 'string', enum: Object.keys(PROBLEMS) },
    request_id: { type: 'string' },
    errors: {
      type: 'array',
      items: {
        type: 'object',
        required: ['path', 'message'],
        properties: {
          path: { type: 'string', description: 'Such as `deny[2].action`; empty for the body as a whole.' },
          message: { type: 'string' },
          code: { type: 'string' },
        },
      },
    },
    'violated-policies': {
      type: 'array',
      items: { type: 'string' },
      description: 'Rate limits that were exceeded.',
    },
  },
}
