FROM node:24-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
COPY sdk/package.json ./sdk/
COPY ui/package.json ./ui/
# With the optional packages: the compilers of the dashboard are programs of this platform.
RUN npm ci --ignore-scripts
COPY . .
RUN npm run build && npm run build:ui && npm prune --omit=dev --omit=optional --ignore-scripts

FROM node:24-slim
WORKDIR /app
ENV NODE_ENV=production HOST=0.0.0.0 PORT=8000
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/prisma ./prisma
COPY --from=build /app/dist ./dist
COPY --from=build /app/ui/out ./ui/out
# The signer's folder is a volume of its own, which takes over this owner.
RUN install -d -o node -g node -m 700 /var/lib/agentguard-signer
USER node
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8000/health/ready').then(r => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
# As `npm start`: V8 takes what it gets, so it is told what one worker may have (docs/scaling.md, Memory).
CMD ["node", "--max-semi-space-size=32", "--enable-source-maps", "dist/src/main.js"]
