import { NestFactory } from '@nestjs/core'
import type { NestExpressApplication } from '@nestjs/platform-express'
import { SwaggerModule } from '@nestjs/swagger'
import type { NextFunction, Request, Response } from 'express'
import { AppModule } from './app.module.js'
import { buildDocument } from './openapi-document.js'
import { Settings } from './platform/config/settings.js'
import type { Connections } from './platform/database/connections.js'
import { corsOptions } from './platform/http/cors.js'
import { serveDashboard } from './platform/http/dashboard.js'
import { entrance } from './platform/http/entrance.js'
import { LaneAdapter } from './platform/http/lane.adapter.js'
import { notRouted } from './platform/http/problem.filter.js'
import { sendProblem } from './platform/http/problem-response.js'
import { recorder } from './platform/http/recorder.js'
import { configureServer } from './platform/http/server.js'
import { Shutdown } from './platform/http/shutdown.js'
import { AppLogger } from './platform/logging/app-logger.js'
import { RequestLog } from './platform/logging/request-log.js'
import { Metrics } from './platform/metrics/metrics.js'
import { RateLimiter, rateHeaders, rateIdentity, rateProblem } from './platform/throttling/rate-limiter.js'

/** Options that both the program and its tests create the application with. */
export const APP_OPTIONS = {
  // Bodies are read by InputInterceptor, after authentication.
  bodyParser: false,
  bufferLogs: true,
  // A failed start must reach main(), which still has a database to stop.
  abortOnError: false,
} as const

/** The application, ready to listen. */
export async function createApp(
  settings: Settings,
  connections: Connections,
): Promise<NestExpressApplication> {
  const app = await NestFactory.create<NestExpressApplication>(
    AppModule.forRoot(settings, connections),
    new LaneAdapter(),
    APP_OPTIONS,
  )
  try {
    return await configureApp(app)
  } catch (error) {
    // What modules opened before one of them failed, pools above all, is closed as at any other end.
    await app.close()
    throw error
  }
}

/** Everything about HTTP that is not a provider, in the order in which a request meets it; initialises the modules. */
export async function configureApp(app: NestExpressApplication): Promise<NestExpressApplication> {
  const settings = app.get(Settings)
  app.useLogger(app.get(AppLogger))
  app.disable('x-powered-by')
  app.set('etag', false)
  app.set('query parser', 'simple')
  app.set('trust proxy', settings.trust_proxy_headers)
  app.setGlobalPrefix('v1', { exclude: ['.well-known/{*path}', 'access/{*path}'] })
  app.use(entrance(settings, app.get(Shutdown)))
  app.use(recorder(app.get(Metrics), app.get(RequestLog)))
  const cors = corsOptions(settings)
  if (cors) app.enableCors(cors)
  serveDocumentation(app)
  serveDashboard(app)
  configureServer(app.getHttpServer(), settings)
  await app.init()
  // After all routes: what lies beside /v1 would otherwise get Express's HTML page.
  app.use((request: Request, response: Response) =>
    sendProblem(request, response, notRouted(request, response)),
  )
  return app
}

/** Swagger UI at /docs and the document at /openapi.json, both made at the first look. */
function serveDocumentation(app: NestExpressApplication): void {
  const limiter = app.get(RateLimiter)
  app.use('/docs', (request: Request, response: Response, next: NextFunction) => {
    const outcome = limiter.take('docs', rateIdentity(undefined, request.ip))
    if (outcome)
      for (const [name, value] of Object.entries(rateHeaders(outcome, Date.now())))
        response.setHeader(name, value)
    next(outcome && !outcome.allowed ? rateProblem(outcome) : undefined)
  })
  app.use('/v1/redoc', (_: Request, response: Response) => response.redirect('/docs'))
  SwaggerModule.setup('docs', app, () => buildDocument(app), {
    customSiteTitle: 'AgentGuard API',
    jsonDocumentUrl: 'v1/openapi.json',
    yamlDocumentUrl: 'docs/openapi.yaml',
  })
}
